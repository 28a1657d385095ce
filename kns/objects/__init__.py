"""Pure builders: plain arguments in, Kubernetes objects (decoded JSON) or chart values out."""
