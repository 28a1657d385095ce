"""
Shows kns at work: brings a cluster up, installs kns as a user would, runs a job and proves that nothing is left.

It stands outside of kns and uses only what a user has: kubectl, the manifests and the HTTP API. Without KUBECONFIG
the cluster is the testbed of this repository.
"""
