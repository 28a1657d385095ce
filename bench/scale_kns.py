"""
The scheduler as `bench.scale` runs it: everything is real except for what is behind the virtual-cluster port.

There, each call takes as long as that of a virtual cluster on the testbed, and stage prepare's mark becomes a file in
the folder BENCH_MARKS, where the simulated init pod looks for it. No TLS connection is made to a virtual cluster; the
real adapter makes one per call.
"""

import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from kns import main
from kns.model import names
from kns.ports import Kind, Object
from kns.wiring import parts

_CALL_S = 0.005  # a small request to a calm virtual cluster


class SimulatedVirtualClusters:
    """Implements `ports.VirtualClusters`. A control plane whose pod is ready answers."""

    def __init__(self, **_options: object) -> None:
        self._marks = Path(os.environ["BENCH_MARKS"])

    def listens(self, namespace: str, server: str) -> bool:
        del namespace, server
        return True

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        del namespace, kubeconfig
        time.sleep(_CALL_S)
        return True

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        del namespace, kubeconfig
        time.sleep(_CALL_S * len(objects))
        for obj in objects:
            mark = (obj["metadata"].get("annotations") or {}).get(names.RECORD_UID_ANNOTATION)
            if mark:
                (self._marks / mark).touch()

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        del namespace, kubeconfig, kind, name
        time.sleep(_CALL_S)
        return frozenset(namespaces)

    def retry_pods(self, namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        del namespace, kubeconfig, mark, page
        time.sleep(_CALL_S)
        return ""


if __name__ == "__main__":
    parts.KubeVirtualClusters = SimulatedVirtualClusters  # type: ignore[assignment,attr-defined]  # the simulated part
    sys.exit(main.run())
