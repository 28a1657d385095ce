"""Pure data and rules of kns. Nothing here does I/O, reads a clock or knows Kubernetes' client."""
