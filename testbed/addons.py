"""
Applies what runs in the cluster besides its control plane: DNS, storage class, metrics, ingress, Gateway API.

It also sets the node's label and taint.
"""

import pathlib
import string
from collections.abc import Callable
from typing import Any

from testbed import api, layout, modules, paths
from testbed.commands import run, wait_until
from testbed.errors import TestbedError

NODE_TIMEOUT_S = 60.0
ADDON_TIMEOUT_S = 180.0
TAINT_EFFECT = "NoSchedule"
GATEWAY_MODULE = "sigs.k8s.io/gateway-api"

# Manifest -> namespace and name of the Deployment to wait for.
ADDONS: dict[str, tuple[str, str]] = {
    "coredns": ("kube-system", "coredns"),
    "local-path": ("kube-system", "local-path-provisioner"),
    "traefik": ("traefik", "traefik"),
    "metrics-server": ("kube-system", "metrics-server"),
}


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True, timeout_s: float = 60.0) -> str:
    """
    Run kubectl as administrator. Returns its output.
    """
    api.require_bridge()
    argv = [str(paths.binary("kubectl")), f"--kubeconfig={paths.KUBECONFIG}", *arguments]
    # kubectl keeps its discovery cache in HOME, and the cache must not outlive the cluster.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(paths.STATE)}
    return run(argv, stdin=stdin, env=environment, check=check, timeout_s=timeout_s).stdout


def wait_for_node(tick: Callable[[str], None], *, taint: bool) -> None:
    """
    Wait until the node is Ready, then set its label, and set or remove its taint.
    """

    def missing() -> str | None:
        nodes = api.get("/api/v1/nodes")["items"]
        ready = [node for node in nodes if _condition(node, "Ready") == "True"]
        return None if ready else f"node {layout.NODE_NAME} is not Ready"

    wait_until(missing, timeout_s=NODE_TIMEOUT_S, tick=tick)
    kubectl("label", "node", layout.NODE_NAME, f"{layout.NODE_LABEL}=true", "--overwrite")
    if taint:
        kubectl("taint", "node", layout.NODE_NAME, f"{layout.NODE_LABEL}=true:{TAINT_EFFECT}", "--overwrite")
    elif _tainted():
        kubectl("taint", "node", layout.NODE_NAME, f"{layout.NODE_LABEL}:{TAINT_EFFECT}-")


def apply(name: str) -> None:
    """
    Apply an addon's manifest.
    """
    template = string.Template((paths.MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8"))
    arguments = ("apply", "--server-side", "--force-conflicts", "--field-manager=kns-testbed", "-f", "-")
    kubectl(*arguments, stdin=template.substitute(VOLUMES=str(paths.VOLUMES)))


def ensure_gateway_api(go: Callable[[], pathlib.Path]) -> str:
    """
    Give the cluster the kinds of the Gateway API, unless it has them. Returns what was done.

    Args:
        go: gives the toolchain; called only if the kinds are missing. The module that traefik was built with has their
            definitions.
    """
    group = "gateway.networking.k8s.io"
    if f"httproutes.{group}" in kubectl("api-resources", f"--api-group={group}", "--output=name").split():
        return "present"
    folder = modules.source(go(), GATEWAY_MODULE) / "config" / "crd" / "standard"
    files = [file for file in sorted(folder.glob(f"{group}_*.yaml")) if "_vap_" not in file.name]  # no policies
    arguments = [f"--filename={file}" for file in files]
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=kns-testbed", *arguments)
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *arguments)
    return f"{len(files)} applied"


def wait_for_addon(name: str, tick: Callable[[str], None]) -> None:
    """
    Wait until an addon's Deployment is available.

    Raises:
        TestbedError: it did not become available in time; the message has pods, events and the end of the logs.
    """
    namespace, deployment = ADDONS[name]

    def missing() -> str | None:
        found = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}")
        generation = found["metadata"]["generation"] == found.get("status", {}).get("observedGeneration")
        replicas = found.get("status", {}).get("updatedReplicas", 0)
        well = generation and replicas and _condition(found, "Available") == "True"
        return None if well else f"Deployment {namespace}/{deployment} is not available"

    try:
        wait_until(missing, timeout_s=ADDON_TIMEOUT_S, tick=tick, every_s=0.3)
    except TestbedError as err:
        raise TestbedError(f"{err}\n{describe_failure(namespace, deployment)}") from err


def describe_failure(namespace: str, deployment: str) -> str:
    """
    What an operator looks at first: pods, newest events, end of the logs.
    """
    sections = (
        ("pods", ("get", "pods", "-A", "-o", "wide")),
        ("events", ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")),
        ("log", ("logs", "-n", namespace, f"deployment/{deployment}", "--tail=20", "--all-containers")),
    )
    texts: list[str] = []
    for title, arguments in sections:
        lines = kubectl(*arguments, check=False).splitlines()[-25:]
        texts.append(f"--- {title}\n" + "\n".join(lines))
    return "\n".join(texts)


def _tainted() -> bool:
    node = api.get(f"/api/v1/nodes/{layout.NODE_NAME}")
    return any(taint["key"] == layout.NODE_LABEL for taint in node["spec"].get("taints", []))


def _condition(found: dict[str, Any], kind: str) -> str:
    conditions = found.get("status", {}).get("conditions", [])
    return next((str(item["status"]) for item in conditions if item["type"] == kind), "Unknown")
