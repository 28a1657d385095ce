"""
Renders the configuration files of the node's parts. Only `write_all` writes files.
"""

import json
import pathlib
from typing import Any

from testbed import audit, layout, paths

CNI_PLUGINS = "/usr/lib/cni"
RUNC = "/usr/sbin/runc"
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"


def render_containerd() -> str:
    """
    The configuration of containerd 2, in version 3 of the format.

    Sockets, state, network namespaces and runc's state are in our folders, where `down` finds them. Images come only
    from our registry (see render_registry_hosts). `restrict_oom_score_adj` is for machines without CAP_SYS_RESOURCE,
    where every sandbox would fail with "can't get final child's PID from pipe: EOF".
    """
    return f"""version = 3
root = "{paths.CONTAINERD_ROOT}"
state = "{paths.CONTAINERD_STATE}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.nri.v1.nri"]

[grpc]
  address = "{paths.CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{paths.STATE}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  discard_unpacked_layers = true
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{paths.CONFIG}/registry-hosts"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  enable_unprivileged_ports = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    use_internal_loopback = true
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{paths.CNI_CONF}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{paths.binary("containerd-shim-runc-v2").resolve()}"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{RUNC}"
        Root = "{paths.RUN}/runc"
        SystemdCgroup = false
"""


def render_registry_hosts() -> str:
    """
    The `_default` host: containerd looks up every image of every registry in our registry, by its path, and nowhere
    else.
    """
    url = f"http://{layout.REGISTRY}"
    return f'server = "{url}"\n\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'


def render_registry() -> str:
    """
    The configuration of Debian's docker-registry: it listens on loopback only and stores plain files.
    """
    return f"""version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: "{paths.REGISTRY_DATA}"}}
  delete: {{enabled: true}}
http: {{addr: "{layout.REGISTRY}"}}
"""


def render_cni() -> dict[str, Any]:
    """
    The pod network: one bridge, addresses from the host-local plugin, host ports from the portmap plugin.
    """
    ranges = [[{"subnet": layout.POD_SUBNET}]]
    ipam = {
        "type": "host-local",
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(paths.CNI_DATA),
    }
    bridge = {
        "type": "bridge",
        "bridge": layout.POD_BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": layout.CNI_NETWORK, "plugins": [bridge, portmap]}


def render_kubelet() -> dict[str, Any]:
    """
    KubeletConfiguration.

    The resolv.conf is our own. A pod with dnsPolicy Default, such as CoreDNS in a virtual cluster, queries the
    cluster's DNS instead of the machine's resolver, so no query leaves the machine.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.NODE_IP,
        "port": 10250,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{paths.PKI}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{paths.PKI}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Kubelet would add iptables chains that kube-proxy does not use.
        "makeIPTablesUtilChains": False,
        "clusterDNS": [layout.DNS_IP],
        "clusterDomain": layout.CLUSTER_DOMAIN,
        "resolvConf": f"{paths.CONFIG}/resolv.conf",
        "podLogsDir": str(paths.POD_LOGS),
        "maxPods": 250,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 100,
        "eventBurst": 200,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "2Gi",
            "imagefs.available": "2Gi",
            "nodefs.inodesFree": "1%",
        },
        # The disk is shared with other users, so its usage must not cause the removal of images.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def render_kube_proxy() -> dict[str, Any]:
    """
    KubeProxyConfiguration: iptables mode, node ports only on our own address, conntrack limits unchanged.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": f"{paths.PKI}/kube-proxy.kubeconfig"},
        "clusterCIDR": layout.POD_RANGE,
        "hostnameOverride": layout.NODE_NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{layout.NODE_IP}/32"],
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "200ms", "syncPeriod": "30s"},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
    }


def render_resolv_conf() -> str:
    """
    The resolv.conf of pods with dnsPolicy Default: the cluster's DNS, which forwards nothing.
    """
    return f"nameserver {layout.DNS_IP}\n"


def write_all() -> None:
    """
    Write every file whose content changed.
    """
    files: dict[pathlib.Path, str] = {
        paths.CONFIG / "containerd.toml": render_containerd(),
        paths.CONFIG / "registry-hosts" / "_default" / "hosts.toml": render_registry_hosts(),
        paths.CONFIG / "registry.yaml": render_registry(),
        paths.CONFIG / "kubelet.yaml": _pretty(render_kubelet()),
        paths.CONFIG / "kube-proxy.yaml": _pretty(render_kube_proxy()),
        paths.CONFIG / "resolv.conf": render_resolv_conf(),
        audit.policy_file(): audit.render_policy(),
        paths.CNI_CONF / "10-kns-testbed.conflist": _pretty(render_cni()),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pretty(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
