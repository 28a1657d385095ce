"""The Kubernetes API: one client per cluster, watch caches, and the ports that use them."""
