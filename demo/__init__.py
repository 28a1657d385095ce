"""
A demo of kns: create a cluster, install kns as a user would, run a job and prove that no object of it is left.

It uses only what a user has: kubectl, the manifests and the HTTP API. Without KUBECONFIG, the cluster is the testbed of
this repository.
"""
