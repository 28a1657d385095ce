"""
The Kubernetes Job that makes the prepared state (`kns.objects.prepared_state`).

It runs kine, an API server and a controller manager of the official image once, without a tenant, waits until they have
nothing left to write, and prints the database. It needs no rights, no network and no volume of the host: everything
listens on loopback, and the log is the result. Its certificates are for this one start.
"""

import base64
from collections.abc import Mapping
from typing import Any

from kns.model import names
from kns.model.site import build_tolerations
from kns.objects.control_plane import build_api_server_flags, build_controller_flags, build_kine_flags
from kns.objects.own_pod import CONTAINER_SECURITY

CONTAINER = "prepare"
DEADLINE_S = 300  # a start takes some 30 s; a slow node gets ten times that
_KEPT_S = 60  # until it is deleted, with its pod and its input; kns reads the result after seconds
_QUIET_S = 5  # nothing was written for this time; the API server renews its Lease every 10 s
_USER = 1000  # the user of the image
_PKI = "/pki"

_SCRIPT = f"""\
cd /kubernetes
echo "programs: $(wc -c <kine) $(wc -c <kube-apiserver) $(wc -c <kube-controller-manager)"
listens() {{ grep -q ":$1 00000000:0000 0A" /proc/net/tcp; }}
./kine $KINE >/data/kine.log 2>&1 & kine=$!
./kube-apiserver $API_SERVER >/data/api.log 2>&1 & api=$!
until listens 192B; do
  kill -0 $kine && kill -0 $api || {{ tail -n 20 /data/kine.log /data/api.log; exit 1; }}
  sleep 0.2
done
./kube-controller-manager $CONTROLLERS >/data/controllers.log 2>&1 & controllers=$!
sleep 10
while [ $(($(date +%s) - $(stat -c %Y /data/state.db-wal))) -lt {_QUIET_S} ]; do
  kill -0 $api && kill -0 $controllers || {{ tail -n 20 /data/api.log /data/controllers.log; exit 1; }}
  sleep 1
done
kill -9 $controllers $api
kill $kine
wait $kine || true
# Without a write-ahead log the database is one file.
rm -f /data/kine.sock
./kine $(echo "$KINE" | sed s/_journal=WAL/_journal=DELETE/) >/data/kine.log 2>&1 & kine=$!
while [ -e /data/state.db-wal ]; do
  kill -0 $kine || {{ tail -n 20 /data/kine.log; exit 1; }}
  sleep 0.2
done
kill $kine
wait $kine || true
echo "-----BEGIN STATE-----"
gzip -c /data/state.db | base64
echo "-----END STATE-----"
"""


def build_prepare_input(job: Mapping[str, Any], certificates: Mapping[str, bytes]) -> dict[str, Any]:
    """
    The ConfigMap with the certificates of this one start, which nobody can reach. They are no secret of any job. `job`
    is the stored Job, with which it is deleted.
    """
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.MANAGED_BY_LABEL: "kns"},
            "ownerReferences": [owner],
        },
        "binaryData": {file: base64.b64encode(content).decode() for file, content in certificates.items()},
    }


def build_prepare_job(name: str, namespace: str, *, image: str, service_cidr: str) -> dict[str, Any]:
    """`name` is also that of the ConfigMap with the certificates, for which the pod waits."""
    flags = {
        "KINE": build_kine_flags(),
        "API_SERVER": build_api_server_flags(service_cidr, pki=_PKI),
        "CONTROLLERS": build_controller_flags(service_cidr, pki=_PKI),
    }
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-ec", _SCRIPT],
        "env": [{"name": variable, "value": " ".join(values)} for variable, values in flags.items()],
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the container
            {"name": "pki", "mountPath": _PKI, "readOnly": True},
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "64Mi"},
            "limits": {"cpu": "2", "memory": "1536Mi", "ephemeral-storage": "1Gi"},
        },
        "securityContext": CONTAINER_SECURITY,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": {names.MANAGED_BY_LABEL: "kns"}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_S,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {
                "metadata": {"labels": {names.MANAGED_BY_LABEL: "kns", names.COMPONENT_LABEL: "prepare"}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "tolerations": build_tolerations(),
                    "nodeSelector": {names.OS_LABEL: names.LINUX},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _USER,
                        "runAsGroup": _USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "data", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "pki", "configMap": {"name": name}},
                    ],
                },
            },
        },
    }
