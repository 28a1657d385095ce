"""
Run the scheduler from the checkout, outside the cluster, to try changes quickly.

The Deployment in the cluster is scaled to 0 meanwhile, so that two versions never reconcile the same jobs.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from demo import accounts, catalog, images, overlay, realm
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.screen import Screen
from demo.target import ROOT, Target
from demo.waiting import wait_until
from testbed import paths

HOST, PORT, METRICS_PORT = "127.0.0.1", 8081, 9091
_REPLICAS = 2  # as in manifests/deployment.yaml
_STOP_S = 20.0


def run(target: Target, screen: Screen) -> int:
    """
    Run the scheduler until Ctrl-C. Returns its exit status.

    Raises:
        DemoError: kns is not installed, or the packaged chart is missing.
    """
    kubectl = Kubectl.of(target)
    environment = build_environment(target, images.provide(target, screen.step))
    screen.step(f"kns in the cluster is scaled to 0, and to {_REPLICAS} replicas again when this process ends")
    try:
        _scale(kubectl, 0)
        wait_until(lambda: _pods(kubectl), timeout_s=60, what="the end of kns in the cluster", say=screen.step)
        screen.step(f"kns from {ROOT}: http://{HOST}:{PORT}/jarvice/, metrics http://{HOST}:{METRICS_PORT}/metrics")
        screen.text(f"Use it: . {target.state / 'env.sh'}; KNS_URL=http://{HOST}:{PORT}      End it: Ctrl-C")
        return _run_child({**os.environ, **environment})
    finally:
        _scale(kubectl, _REPLICAS)
        screen.step(f"kns in the cluster has {_REPLICAS} replicas again")


def build_environment(target: Target, ours: images.OurImages) -> dict[str, str]:
    """
    The scheduler's variables. KNS_VCLUSTER_CHART and KNS_HELM of the user have priority.
    """
    folder = target.state / "catalog"
    catalog.write_directory(folder, catalog.build_catalog(target, accounts.load_keys(target.state)))
    config = overlay.build_config(target, ours, realm_public_key=realm.load_public_key(target.state))
    return config | {
        "JARVICE_K8S_ADMIN_CONF": target.kubeconfig,
        "JARVICE_K8S_SCHED_LOGLEVEL": os.environ.get("JARVICE_K8S_SCHED_LOGLEVEL", "20"),
        "KNS_CATALOG_DIR": str(folder),
        "KNS_HTTP_HOST": HOST,
        "KNS_HTTP_PORT": str(PORT),
        "KNS_METRICS_PORT": str(METRICS_PORT),
        "KNS_VCLUSTER_CHART": os.environ.get("KNS_VCLUSTER_CHART") or str(find_chart()),
        "KNS_HELM": os.environ.get("KNS_HELM") or str(paths.binary("helm")),
    }


def find_chart() -> Path:
    """
    The newest chart that the testbed has packaged.

    Raises:
        DemoError: there is none.
    """
    charts = sorted(paths.IMAGES.glob("chart-*.tgz"), key=lambda file: file.stat().st_mtime)
    if not charts:
        raise DemoError("there is no packaged vcluster chart in the cache; run `make up`, or set KNS_VCLUSTER_CHART")
    return charts[-1]


def _run_child(environment: Mapping[str, str]) -> int:
    child = subprocess.Popen([sys.executable, "-m", "kns"], cwd=ROOT, env=environment, start_new_session=True)
    try:
        child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_S)
    finally:
        child.kill()  # also after a second Ctrl-C: in its own session nothing else would end it
        child.wait()
    return child.returncode


def _scale(kubectl: Kubectl, replicas: int) -> None:
    kubectl.run(
        "scale", f"--namespace={overlay.NAMESPACE}", f"deployment/{overlay.DEPLOYMENT}", f"--replicas={replicas}"
    )


def _pods(kubectl: Kubectl) -> str | None:
    names = kubectl.run(
        "get",
        "pods",
        f"--namespace={overlay.NAMESPACE}",
        "--selector=app.kubernetes.io/name=kns-scheduler",
        "--output=name",
    ).split()
    return f"{len(names)} pods are ending" if names else None
