"""The real kns, in two replicas, on a real API server and etcd, all on loopback, with simulated nodes."""
