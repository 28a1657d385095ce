"""Pure builders: from plain arguments to Kubernetes objects (decoded JSON) or chart values."""
