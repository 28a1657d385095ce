"""Install kns and wait until it is ready: cluster, images, manifests, catalogue. Safe to repeat."""

import contextlib
from collections.abc import Iterator
from typing import Any

from demo import accounts, catalog, images, overlay, realm
from demo.errors import DemoError
from demo.files import write_private
from demo.kubectl import Kubectl
from demo.screen import Screen
from demo.target import Target
from demo.waiting import wait_until
from kns.client import Client, ClientError
from testbed import cluster, plan

ROLLOUT_S = 240.0
READY_S = 60.0
_RESTARTS_LIMIT = 3  # after so many crashes, more waiting does not help


def up(target: Target, screen: Screen) -> None:
    """
    Install kns and wait until it is ready.

    Raises:
        DemoError: kns did not start. The pods, events and logs have been printed.
        TestbedError: the testbed or an image failed.
    """
    if target.is_testbed:
        screen.heading("What this does to the machine, and how `make down` undoes it")
        screen.text(plan.render())
        screen.heading("The testbed")
        cluster.up()
    screen.heading("The images of kns")
    ours = images.provide(target, screen.step)
    screen.heading("kns, installed from manifests/ with an overlay")
    kubectl = Kubectl.of(target)
    folder = write_overlay(target, ours)
    screen.step(f"kubectl apply -k {folder}")
    screen.quote(_changes(kubectl.run("apply", "-k", str(folder), timeout_s=120)))
    try:
        wait_until(lambda: _rollout(kubectl), timeout_s=ROLLOUT_S, what="the Deployment of kns", say=screen.step)
    except DemoError:
        _explain(kubectl, screen)
        raise
    with reach_api(target, kubectl) as url, Client(url, use_proxy=False) as client:
        wait_until(lambda: _find_problem(client), timeout_s=READY_S, what=f"kns at {url}", say=screen.step)
    screen.step("kns is ready")


def _find_problem(client: Client) -> str | None:
    """Why kns is not ready, or None if it is."""
    try:
        client.check_ready()
    except ClientError as error:
        return str(error)
    return None


def write_overlay(target: Target, ours: images.OurImages) -> str:
    """
    Write the overlay to the state folder. Returns the folder.
    """
    folder = target.state / "overlay"
    files = catalog.build_catalog(target, accounts.load_keys(target.state))
    config = overlay.build_config(target, ours, realm_public_key=realm.load_public_key(target.state))
    rendered = overlay.build_overlay(folder, config=config, images=ours, catalog=catalog.build_secret(files))
    for name, text in rendered.items():
        write_private(folder / name, text)
    return str(folder)


@contextlib.contextmanager
def reach_api(target: Target, kubectl: Kubectl) -> Iterator[str]:
    """
    The URL of the API: the address of the Service on the testbed, the local end of a port-forward elsewhere.
    """
    if target.is_testbed:
        yield f"http://{service_address(kubectl)}:8080"
        return
    with kubectl.forward(overlay.NAMESPACE, overlay.DEPLOYMENT, 8080) as port:
        yield f"http://127.0.0.1:{port}"


def service_address(kubectl: Kubectl) -> str:
    """
    The ClusterIP of the Service of kns.

    Raises:
        DemoError: kns is not installed.
    """
    service = kubectl.find("service", overlay.DEPLOYMENT, f"--namespace={overlay.NAMESPACE}")
    if service is None:
        raise DemoError("kns is not installed on this cluster; run `make up`")
    return str(service["spec"]["clusterIP"])


def _changes(text: str) -> str:
    changed = [line for line in text.splitlines() if not line.endswith("unchanged")]
    return "\n".join(changed) or "nothing changed"


def _rollout(kubectl: Kubectl) -> str | None:
    """
    What the Deployment still lacks, or None if it is complete.

    Raises:
        DemoError: a new pod crashes repeatedly.
    """
    deployment = kubectl.get("deployment", overlay.DEPLOYMENT, f"--namespace={overlay.NAMESPACE}")
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if current and updated == wanted == ready == status.get("replicas", 0):
        return None
    pods = kubectl.get("pods", f"--namespace={overlay.NAMESPACE}", "--selector=app.kubernetes.io/name=kns-scheduler")
    reasons = sorted({reason for pod in pods["items"] for reason in waiting_reasons(pod)})
    suffix = f" ({', '.join(reasons)})" if reasons else ""
    return f"{updated} of {wanted} pods updated, {ready} available{suffix}"


def waiting_reasons(pod: dict[str, Any]) -> list[str]:
    """
    Why the containers of a pod do not run.

    Raises:
        DemoError: a container crashed too often.
    """
    reasons = []
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting")
        if waiting is None:
            continue
        if container.get("restartCount", 0) >= _RESTARTS_LIMIT:
            raise DemoError(
                f"pod {pod['metadata']['name']} crashed {container['restartCount']} times; see its log above"
            )
        reasons.append(str(waiting.get("reason", "waiting")))
    return reasons


def _explain(kubectl: Kubectl, screen: Screen) -> None:
    namespace = f"--namespace={overlay.NAMESPACE}"
    commands: list[tuple[str, ...]] = [
        ("get", "pods", namespace, "--output=wide"),
        ("get", "events", namespace, "--sort-by=.lastTimestamp", "--field-selector=type!=Normal"),
        ("logs", namespace, "--selector=app.kubernetes.io/name=kns-scheduler", "--tail=20", "--prefix"),
    ]
    for command in commands:
        screen.step(f"kubectl {' '.join(command)}", style="bold")
        screen.quote("\n".join(kubectl.run(*command, check=False).splitlines()[-40:]))
