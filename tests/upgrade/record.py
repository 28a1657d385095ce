"""
Stores a job in each state of its life, as the checked-out version makes it: record, host objects, output, tokens.

`python -m tests.upgrade.record` writes them to the folder of that version. Run it once, at the release.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kns import __version__
from kns.model.appdef.limit_range import parse_limit_range
from kns.model.job.job import Job, StopReason, Substatus
from kns.model.job.record import build_record, status_to_record
from kns.settings import Settings
from tests.builders import a_catalog, a_job
from tests.fakes.host import FakeHost
from tests.fakes.stores import FakeClock, MemoryJobStore, MemoryOutputStore, MemoryTokenStore, StaticCatalog
from tests.fakes.vcluster import FakeVirtualClusters
from tests.flow.conftest import SITE, Simulation

FOLDER = Path(__file__).parent
IMAGE = "localhost/kns-example-hello:1"  # exists where tests/e2e continues some of these jobs on a cluster
_RECONCILES = 50


def _submitted(sim: Simulation) -> None:
    sim.submit(a_job().with_accepted(image=IMAGE))


def _spawning(sim: Simulation) -> None:
    _submitted(sim)
    sim.host.schedulable = False
    _run(sim, lambda: sim.job.status.message is not None and "not scheduled" in sim.job.status.message)


def _deploying(sim: Simulation) -> None:
    _submitted(sim)
    sim.host.init_exit = None
    _run(sim, lambda: sim.job.status.substatus is Substatus.DEPLOYING and bool(sim.outputs.outputs))


def _serving(sim: Simulation) -> None:
    _submitted(sim)
    sim.run(until="serving")


def _draining(sim: Simulation) -> None:
    _serving(sim)
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="draining")


def _ended(sim: Simulation) -> None:
    _serving(sim)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")


def _removing(sim: Simulation) -> None:
    _ended(sim)
    sim.host.namespace_stuck = "Some resources are remaining: pods. has 1 resource instances"
    sim.run(until="removing")


def _removed(sim: Simulation) -> None:
    _ended(sim)
    sim.run(until="retained")


STATES: dict[str, Callable[[Simulation], None]] = {
    "submitted": _submitted,
    "spawning": _spawning,
    "deploying": _deploying,
    "serving": _serving,
    "draining": _draining,
    "ended": _ended,
    "removing": _removing,
    "removed": _removed,
}


def dump(state: str) -> dict[str, Any]:
    """A job that this version brings to `state` over a simulated host."""
    clock = FakeClock()
    sim = Simulation(
        clock=clock,
        store=MemoryJobStore(clock),
        host=FakeHost(clock),
        outputs=MemoryOutputStore(),
        tokens=MemoryTokenStore(),
        virtual=FakeVirtualClusters(),
        catalog=StaticCatalog(a_catalog()),
    )
    sim.configure(limit_range=tuple(parse_limit_range(Settings.model_fields["limit_range"].default)))
    STATES[state](sim)
    tokens = sim.tokens.read(sim.record)
    return {
        "version": __version__,
        "state": state,
        "now": clock.now().isoformat(),
        "record": _record(sim.job),
        "output": asdict(sim.outputs.read(sim.job)),
        "tokens": asdict(tokens) if tokens else None,
        "objects": copy.deepcopy(sim.host.dump()),
    }


def _record(job: Job) -> dict[str, Any]:
    record = build_record(record=job.record, spec=job.spec, namespace=SITE.system_namespace)
    record["metadata"] |= {
        "uid": job.uid,
        "resourceVersion": job.resource_version,
        "generation": job.generation,
        "creationTimestamp": job.created.isoformat(),
    }
    return {**record, "status": status_to_record(job.status)}


def _run(sim: Simulation, is_there: Callable[[], bool]) -> None:
    for _ in range(_RECONCILES):
        result = sim.step()
        if is_there():
            return
        sim.host.settle()
        sim.clock.advance(result.requeue_after_s or 0.1)
    raise AssertionError(f"not after {_RECONCILES} reconciles: {sim.job.status}")


def main() -> int:
    """Existing files are never changed, because a released version does not change either."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.record", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER / __version__)
    folder = parser.parse_args().folder
    try:
        folder.mkdir()
    except FileExistsError:
        sys.stderr.write(f"{folder} is there already\n")
        return 2
    for state in STATES:
        text = json.dumps(dump(state), indent=1, sort_keys=True)
        (folder / f"{state}.json").write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
