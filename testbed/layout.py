"""
Names and addresses of the cluster. Every address is local: it belongs to loopback, to one of our bridges or to a pod.
"""

NODE_NAME = "kns-testbed"
NODE_LABEL = "node-role.jarvice.io/jarvice-vcluster"
NODE_BRIDGE = "kns0"
POD_BRIDGE = "cni0"
CNI_NETWORK = "kns-testbed"

NODE_IP = "172.30.0.1"
NODE_RANGE = "172.30.0.0/24"
POD_RANGE = "10.244.0.0/16"
POD_SUBNET = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

API_PORT = 6443
API_URL = f"https://{NODE_IP}:{API_PORT}"
REGISTRY = "127.0.0.1:5000"
ETCD_URL = "http://127.0.0.1:2379"
INGRESS_CLASS = "traefik"
STORAGE_CLASS = "local-path"
INGRESS_URL = f"http://{NODE_IP}"
KEYCLOAK_PORT = 8180
KEYCLOAK_URL = f"http://{NODE_IP}:{KEYCLOAK_PORT}"
KEYCLOAK_HEALTH = "127.0.0.1:9990"

# The audit log has what the service accounts of these namespaces ask. Tests compare it with the accounts' roles.
AUDITED_NAMESPACES = ("kns-e2e-posit", "kns-e2e-posit-nested")

KUBERNETES_VERSION = "v1.36.3"
VCLUSTER_VERSION = "0.36.1"

# The addresses on which servers listen. Traefik's host ports are firewall rules, not sockets.
LISTENERS: tuple[tuple[str, int, str], ...] = (
    ("127.0.0.1", 5000, "image registry"),
    ("127.0.0.1", 2379, "etcd, clients"),
    ("127.0.0.1", 2380, "etcd, peers"),
    (NODE_IP, API_PORT, "kube-apiserver"),
    ("127.0.0.1", 10257, "kube-controller-manager"),
    ("127.0.0.1", 10259, "kube-scheduler"),
    (NODE_IP, 10250, "kubelet"),
    ("127.0.0.1", 10248, "kubelet, health"),
    ("127.0.0.1", 10249, "kube-proxy, metrics"),
    ("127.0.0.1", 10256, "kube-proxy, health"),
    (NODE_IP, KEYCLOAK_PORT, "Keycloak, on request"),
    ("127.0.0.1", 9990, "Keycloak, health"),
)
HOST_PORTS: tuple[tuple[int, str], ...] = ((80, "ingress, http"), (443, "ingress, https"))
