"""
The pod of a control plane whose processes run side by side.

The chart's pod copies the Kubernetes programs out of their image and then starts the syncer, which starts kine, the API
server and the controller manager one after the other, each after a poll. Here each runs in a container of its own, from
the same official image. Nothing is copied and all start at once, because their certificates exist before the pod
(`kns.objects.certificates`). The syncer waits for the API server as before, and becomes ready with it.

The flags are those that syncer 0.36.1 gives the processes (its pkg/k8s/k8s.go).
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kns.model.appdef.resources import SIDE_BY_SIDE
from kns.model.job.location import Location
from kns.objects.prepared_state import STATE_FILE, STATE_FILES
from kns.objects.vcluster import ISSUER, JWKS_URI

WORKLOADS = frozenset({"Deployment", "StatefulSet"})
SYNCER = "syncer"
_CONFIG, _CONFIG_FILE = "vcluster-config", "config.yaml"  # the chart's volume with the syncer's configuration
_KINE = "kine"
_COPY = "kubernetes"  # the chart's init container, which has the image and its pull policy
_PROGRAMS = "/kubernetes"  # in the image
_PKI = "/etc/kubernetes/pki"
_DATA, _PREPARED = "/data", "/prepared"
_SOCKET = f"unix://{_DATA}/kine.sock"
_API_PORT = 6443

# The syncer starts this in place of kine, and its container ends if this ends. The number is the largest that every
# `sleep` takes, 68 years.
_PLACEHOLDER = "#!/bin/sh\nexec sleep 2147483647\n"
# A prepared state is unpacked only into a volume without one: a container that restarts finds its data. It is used only
# by the programs that made it. The sizes are what a shell can compare in no time; any doubt means an empty database.
# `stat` does not read the programs; busybox's `wc -c` does, and the API server then waits for kine.
# kine does not remove the socket of a predecessor, which a container that was killed leaves behind.
_START_KINE = f"""\
state={_DATA}/state.db prepared={_PREPARED}/{STATE_FILE}
cd {_PROGRAMS}
if [ ! -e $state ] && [ -e $prepared ]; then
  programs="$(echo $(stat -c %s kine kube-apiserver kube-controller-manager))"
  if [ "$programs" != "$(cat {_PREPARED}/programs)" ]; then
    echo "kns: the prepared state is not used: it is of other programs than these: $programs"
  elif gunzip -c $prepared >$state.new; then
    mv $state.new $state
  else
    echo "kns: the prepared state is not used: it cannot be unpacked"
    rm -f $state.new
  fi
fi
rm -f {_DATA}/kine.sock
exec ./kine "$@"
"""
# The API server connects to kine once, and again only a second later.
_START_API_SERVER = f"""\
until [ -S {_DATA}/kine.sock ]; do sleep 0.02; done
exec {_PROGRAMS}/kube-apiserver "$@"
"""
_LISTENS = f"grep -q ':{_API_PORT:04X} 00000000:0000 0A' /proc/net/tcp"  # whether the API server does: state 0A
# The controller manager gives up after 10 s without an API server.
_START_CONTROLLERS = f"""\
until {_LISTENS}; do sleep 0.1; done
exec {_PROGRAMS}/kube-controller-manager "$@"
"""
# The API server deletes its lease before it stops listening. Without kine it would wait for that until it is killed.
_AWAIT_END = f"while {_LISTENS}; do sleep 0.05; done"

# Root, as in the syncer's container: the volume's files belong to it. No capability is needed.
_SECURITY: dict[str, Any] = {
    "runAsUser": 0,
    "runAsGroup": 0,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Go's garbage collector runs when the heap has grown by half, and not to its double. The API server then has a tenth
# less memory of its own (docs/performance.md).
_GARBAGE = {"name": "GOGC", "value": "50"}
# The caches of the syncer begin with lists, which the API server answers at once. By default they begin with streams,
# which wait until kine reports how far its watches have come: up to two seconds of a wake, for ten kinds in a row.
_LIST_FIRST = {"name": "KUBE_FEATURE_WatchListClient", "value": "false"}
_PKI_MOUNT = {"name": "pki", "mountPath": _PKI, "readOnly": True}
_DATA_MOUNT = {"name": "data", "mountPath": _DATA}


def rebuild_chart(
    objects: Sequence[Mapping[str, Any]], location: Location, *, service_cidr: str, state: Mapping[str, bytes]
) -> list[dict[str, Any]]:
    """
    The chart's objects, with a container for each process of the control plane in the Deployment or StatefulSet.

    The Secret with the syncer's configuration also gets what else the pod mounts: the program that the syncer starts
    in place of kine, and `state`, the files of a prepared state or none.
    """
    workload = next(obj for obj in objects if obj["kind"] in WORKLOADS)
    config = _find_config(workload)
    rebuilt = []
    for obj in objects:
        if obj is workload:
            rebuilt.append(run_side_by_side(obj, location, service_cidr=service_cidr, has_state=bool(state)))
        elif (obj["kind"], obj["metadata"]["name"]) == ("Secret", config):
            rebuilt.append(_add_files(obj, {_KINE: _PLACEHOLDER.encode(), **state}))
        else:
            rebuilt.append({**obj})
    return rebuilt


def _find_config(workload: Mapping[str, Any]) -> str:
    """The name of the Secret with the syncer's configuration, which the chart's pod mounts."""
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    return str(next(volume for volume in volumes if volume["name"] == _CONFIG)["secret"]["secretName"])


def _add_files(secret: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    added = {key: base64.b64encode(content).decode() for key, content in files.items()}
    return {**secret, "data": {**secret["data"], **added}}


def run_side_by_side(
    workload: Mapping[str, Any], location: Location, *, service_cidr: str, has_state: bool
) -> dict[str, Any]:
    """The chart's Deployment or StatefulSet, with a container for each process of the control plane."""
    template = workload["spec"]["template"]
    spec = template["spec"]
    copy = next(container for container in spec["initContainers"] if container["name"] == _COPY)
    syncer = next(container for container in spec["containers"] if container["name"] == SYNCER)
    programs = [
        _build_kine(copy, has_state=has_state),
        _build_container(
            "kube-apiserver",
            copy,
            args=build_api_server_flags(service_cidr),
            mounts=[_PKI_MOUNT, _DATA_MOUNT],
            script=_START_API_SERVER,
        ),
        {**syncer, "resources": SIDE_BY_SIDE[SYNCER], "env": [*syncer.get("env", ()), _GARBAGE, _LIST_FIRST]},
        _build_container(
            "kube-controller-manager",
            copy,
            args=build_controller_flags(service_cidr),
            mounts=[_PKI_MOUNT],
            script=_START_CONTROLLERS,
        ),
    ]
    rebuilt = {
        **spec,
        "initContainers": [container for container in spec["initContainers"] if container is not copy],
        "containers": [*programs, *(container for container in spec["containers"] if container is not syncer)],
        "volumes": _build_volumes(spec["volumes"], location, config=_find_config(workload), has_state=has_state),
    }
    return {**workload, "spec": {**workload["spec"], "template": {**template, "spec": rebuilt}}}


def find_kubernetes_image(objects: Iterable[Mapping[str, Any]]) -> str:
    """The image with the Kubernetes programs, which the chart's pod copies."""
    workload = next(obj for obj in objects if obj["kind"] in WORKLOADS)
    copies = workload["spec"]["template"]["spec"]["initContainers"]
    return str(next(container for container in copies if container["name"] == _COPY)["image"])


def _build_volumes(
    volumes: Iterable[Mapping[str, Any]], location: Location, *, config: str, has_state: bool
) -> list[Mapping[str, Any]]:
    """Those of the chart, of which each sees only its own keys of the Secret `config`, and those of the processes."""
    own = {
        _CONFIG: _select_keys(config, _CONFIG_FILE),
        "binaries": {**_select_keys(config, _KINE), "defaultMode": 0o555},
    }
    return [
        *({"name": each["name"], "secret": own[each["name"]]} if each["name"] in own else each for each in volumes),
        {"name": "pki", "secret": {"secretName": location.certs_secret, "defaultMode": 0o400}},
        *([{"name": "prepared", "secret": _select_keys(config, *STATE_FILES)}] if has_state else []),
    ]


def _select_keys(secret: str, *keys: str) -> dict[str, Any]:
    return {"secretName": secret, "items": [{"key": key, "path": key} for key in keys]}


def _build_kine(copy: Mapping[str, Any], *, has_state: bool) -> dict[str, Any]:
    mounts: list[Mapping[str, Any]] = [_DATA_MOUNT]
    if has_state:
        mounts.append({"name": "prepared", "mountPath": _PREPARED, "readOnly": True})
    kine = _build_container("kine", copy, args=build_kine_flags(), mounts=mounts, script=_START_KINE)
    return {**kine, "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", _AWAIT_END]}}}}


def build_kine_flags() -> list[str]:
    return [
        f"--endpoint=sqlite://{_DATA}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate",
        "--metrics-bind-address=127.0.0.1:2381",
        f"--listen-address={_SOCKET}",
        # The default of 5 s sends 14 messages a second to an idle API server, which asks by itself when a read waits.
        "--watch-progress-notify-interval=60s",
    ]


def build_api_server_flags(service_cidr: str, *, pki: str = _PKI) -> list[str]:
    return [
        f"--service-cluster-ip-range={service_cidr}",
        "--bind-address=127.0.0.1",
        f"--secure-port={_API_PORT}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-bootstrap-token-auth=true",
        "--profiling=false",
        f"--client-ca-file={pki}/client-ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--etcd-servers={_SOCKET}",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-jwks-uri={JWKS_URI}",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        # The syncer writes the endpoints of the Service `kubernetes`.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        # Otherwise it counts the objects of each of some sixty resources once a minute, for a metric that nobody reads.
        "--etcd-count-metric-poll-period=0",
        # Not from its cache: the admission of a namespace's first pod lists both, and such a list waits up to a second
        # until kine reports how far its watches have come.
        "--watch-cache-sizes=limitranges#0,resourcequotas#0",
    ]


def build_controller_flags(service_cidr: str, *, pki: str = _PKI) -> list[str]:
    kubeconfig = f"{pki}/controller-manager.conf"
    # What the host cluster does (nodes, volumes), the virtual cluster does not.
    without = (
        "nodeipam",
        "nodelifecycle",
        "persistentvolume-binder",
        "attachdetach",
        "persistentvolume-expander",
        "cloud-node-lifecycle",
        "ttl",
    )
    return [
        f"--service-cluster-ip-range={service_cidr}",
        "--bind-address=127.0.0.1",
        "--cluster-name=kubernetes",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--client-ca-file={pki}/client-ca.crt",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        f"--root-ca-file={pki}/server-ca.crt",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--cluster-signing-cert-file={pki}/server-ca.crt",
        f"--cluster-signing-key-file={pki}/server-ca.key",
        "--use-service-account-credentials=true",
        # There is one. After a restart it would wait 15 s for its own old lease.
        "--leader-elect=false",
        f"--controllers=*,{','.join(f'-{name}' for name in without)}",
        "--node-monitor-grace-period=180s",
        "--node-monitor-period=30s",
        "--pvclaimbinder-sync-period=60s",
        "--horizontal-pod-autoscaler-sync-period=60s",
        # The defaults, 20 and 30, are for a cluster with other clients. Here they make the first pod wait for a second.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _build_container(
    name: str,
    copy: Mapping[str, Any],
    *,
    args: Sequence[str],
    mounts: Sequence[Mapping[str, Any]],
    script: str,
) -> dict[str, Any]:
    """A container with the image of `copy`. `script` is for a shell, receives `args` and ends with the program."""
    return {
        "name": name,
        "image": copy["image"],
        **({"imagePullPolicy": copy["imagePullPolicy"]} if "imagePullPolicy" in copy else {}),
        "command": ["/bin/sh", "-ec", script, name],
        "args": [*args],
        "env": [_GARBAGE],
        "volumeMounts": [*mounts],
        "securityContext": _SECURITY,
        "resources": SIDE_BY_SIDE[name],
    }
