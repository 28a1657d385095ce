"""
Plain jobs: jobs without a virtual cluster, in one namespace, with the rights of a namespaced Role.

A plain job is a value (`job`). Pure functions turn it into Kubernetes objects (`objects`) and read it back from the
cluster (`reading`). No scheduler runs: the cluster is the only store, so a restart or a second process sees the same.
Front ends on this package stand side by side and know nothing of each other.
"""
