"""
Measures the memory of a replica that caches records of the worst allowed kind. A program of its own, so that only the
imports and the caches of kns count: `python -m tests.adapters.memory URL` prints one line of JSON.
"""

import gc
import json
import sys
import threading
import time
from pathlib import Path

import kns.main
import kns.wiring
from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import HOST_BOUNDS
from kns.adapters.kube.connect import connect_to
from kns.adapters.kube.records import KubeRecords

_STEP_S = 0.05
_PAGE_BYTES = 4096


def measure_rss() -> int:
    """Bytes of memory that this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def main(url: str) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    before = measure_rss()
    client = connect_to(kubeconfig, bounds=HOST_BOUNDS)
    records = KubeRecords(client, namespace="kns", clock=SystemClock())
    stop = threading.Event()
    gc.freeze()  # as the scheduler does
    began = time.monotonic()
    threading.Thread(target=records.cache.run, args=(stop,), daemon=True).start()
    while not records.cache.is_synced:
        threading.Event().wait(_STEP_S)
    caught_up_s = time.monotonic() - began
    loaded = measure_rss()
    shown = sum(1 for _ in records.walk_jobs(["user1"], live=False))
    kns.main._freeze_heap()
    result = {
        "records": len(records.list_records()),
        "live": records.count_all_live(),
        "shown": shown,
        "before_bytes": before,
        "loaded_bytes": loaded,
        "after_bytes": measure_rss(),
        "caught_up_s": round(caught_up_s, 1),
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
