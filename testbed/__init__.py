"""
The testbed: a real one-node Kubernetes cluster made from packages alone, and its removal.

Standard library only: it runs on Debian 12's own Python before anything is installed. It never sends a packet
to an address that is not its own (127.0.0.1, its bridges, its pods), package registries excepted.
"""
