"""
The testbed: brings up a real one-node Kubernetes cluster from packages alone, and removes it.

It uses only the standard library, so that it runs on Debian 12's own Python before anything is installed. Apart from
package registries, it sends packets only to its own addresses: 127.0.0.1, its bridges and its pods.
"""
