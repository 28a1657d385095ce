"""
Run many jobs of one app in a row and report what they leave: `python -m bench.soak`.

Each job goes from submit to its page, is shut down, and its record is deleted. All objects of all kinds are compared
one by one before the first and after the last job. The memory of the scheduler's replicas is read after each job.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import linear_regression, median
from typing import Any

from bench.accounts import read_accounts, read_url
from bench.command import EPILOG, NOT_RUN, add_json, between, report, run_measurement
from bench.errors import BenchError
from bench.scheduler import Replica, read_replicas
from demo.errors import DemoError
from demo.jobs import caption, terminate_labelled
from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from demo.page import find_page_problem
from demo.screen import Screen
from demo.snapshot import Difference, Key, Snapshot, take_snapshot
from demo.target import Target, choose_target
from demo.times import StageTimes
from demo.waiting import wait_until
from kns import __version__
from kns.client import ENDED, Client

MAX_LIVES = 1000
RUN_S = 180.0
PAGE_S = 90.0
END_S = 180.0
SETTLE_S = 60.0  # time for controllers to remove what a deleted namespace leaves
_EVERY_S = 0.25
# Job numbers are never reused, so their counter changes. No other object may change.
EXPECTED = Difference(
    added=frozenset(), removed=frozenset(), changed=frozenset({("ConfigMap", NAMESPACE, "kns-job-numbers")})
)


@dataclass(frozen=True, slots=True)
class Life:
    """One job. `memory_kib` is replica -> resident memory after the job."""

    number: int
    times: list[tuple[str, float]]
    memory_kib: dict[str, float]

    @property
    def seconds(self) -> float:
        """Seconds from submit to the removal of the record."""
        return sum(seconds for _, seconds in self.times)


@dataclass(slots=True)
class Result:
    """
    Everything that was measured. `difference` is None until the end was compared with the start.

    `top` is the output of `kubectl top` at the end: the memory of the replicas' cgroups, including page cache, or an
    error if the cluster has no metrics server.
    """

    app: str
    wanted: int
    start_kib: dict[str, float]
    before: Snapshot
    lives: list[Life] = field(default_factory=list)
    after: Snapshot | None = None
    top: str = ""

    @property
    def difference(self) -> Difference | None:
        """The difference between start and end."""
        return self.before.compare(self.after) if self.after else None

    @property
    def is_whole(self) -> bool:
        """Whether every job was run and nothing is left of any."""
        return len(self.lives) == self.wanted and self.difference == EXPECTED

    def slope_kib(self, replica: str) -> float | None:
        """
        The growth of a replica's memory per job, by linear regression over the second half of the readings. In the
        first half, the caches and the allocator's arenas fill.
        """
        readings = [life.memory_kib[replica] for life in self.lives[len(self.lives) // 2 :]]
        return linear_regression(range(len(readings)), readings).slope if len(readings) > 1 else None


class Soak:
    """One run. Its jobs have the label `label`."""

    def __init__(
        self, target: Target, kubectl: Kubectl, client: Client, screen: Screen, *, app: str, machine: str
    ) -> None:
        self._target = target
        self._kubectl = kubectl
        self._client = client
        self._screen = screen
        self._app = app
        self._machine = machine
        self.label = f"soak-{secrets.token_hex(4)}"
        self.result: Result | None = None

    def run(self, lives: int) -> Result:
        """
        Run all jobs. An interruption or a failure terminates the running job.

        Raises:
            BenchError, DemoError, ClientError: a job did not run as expected.
        """
        self._screen.heading(f"{lives} jobs of {self._app}, one after another")
        result = self.result = Result(
            app=self._app, wanted=lives, start_kib=self._memory(), before=take_snapshot(self._kubectl)
        )
        self._screen.step(f"{len(result.before.objects)} objects of {result.before.kinds} kinds at the start")
        for count in range(1, lives + 1):
            try:
                life = self._live()
            except BaseException:  # also for Ctrl-C, so that no job keeps running
                terminate_labelled(self._client, self.label, say=self._screen.step)
                raise
            if life.memory_kib.keys() != result.start_kib.keys():
                raise BenchError("a pod of the scheduler was replaced, so the memory readings are not comparable")
            result.lives.append(life)
            self._screen.step(f"{count} of {lives}, job {life.number}: {life.seconds:.1f} s")
        result.top = self._kubectl.run("top", "pods", f"--namespace={NAMESPACE}", "--no-headers", check=False).strip()
        self._settle(result)
        return result

    def _live(self) -> Life:
        times = StageTimes()
        times.begin("submit to serving")
        body = self._client.build_submission(self._app, self._machine, job_label=self.label)
        number = self._client.submit(body).number
        url = self._wait_for_url(number)
        times.begin("page")
        wait_until(
            lambda: find_page_problem(url, self._target.ingress_url),
            timeout_s=PAGE_S,
            what=f"the page at {url}",
            every_s=_EVERY_S,
        )
        times.begin("shutdown to end")
        self._client.shutdown(number)
        wait_until(lambda: self._still_runs(number), timeout_s=END_S, what=f"the end of job {number}", every_s=_EVERY_S)
        times.begin("end to nothing left")
        self._kubectl.run("delete", "nj", f"kns-job-{number}", f"--namespace={NAMESPACE}", timeout_s=END_S)
        times.stop()
        if self._kubectl.find("namespace", f"kns-job-{number}") is not None:
            raise BenchError(f"record kns-job-{number} is removed and its namespace is not")
        return Life(number, times.rows(), self._memory())

    def _wait_for_url(self, number: int) -> str:
        info: dict[str, Any] = {}

        def probe() -> str | None:
            nonlocal info
            job = self._client.job(number)
            if job["job_status"] in ENDED:
                raise BenchError(f"job {number} ended: {' | '.join(self._client.output(number, lines=5))}")
            info = self._client.info(number) or {}
            return None if info else caption(job)

        wait_until(probe, timeout_s=RUN_S, what=f"job {number}", every_s=_EVERY_S)
        if not info["url"]:
            raise BenchError(f"app {self._app} has no page; use an app with a target")
        return str(info["url"])

    def _still_runs(self, number: int) -> str | None:
        job = self._client.job(number)
        if job["job_status"] not in ENDED:
            return caption(job)
        if job["job_status"] != "COMPLETED":
            raise BenchError(f"job {number} ended as {job['job_status']} after a shutdown")
        return None

    def _settle(self, result: Result) -> None:
        """Compare until nothing of the jobs is left. After the time limit, keep the last comparison."""
        numbers = {life.number for life in result.lives}

        def probe() -> str | None:
            result.after = take_snapshot(self._kubectl, jobs=numbers)
            return None if result.difference == EXPECTED else "some objects differ"

        try:
            wait_until(probe, timeout_s=SETTLE_S, what="the same objects as before", every_s=2.0)
        except DemoError as error:
            self._screen.step(str(error), style="red")

    def _memory(self) -> dict[str, float]:
        return {replica.pod: replica.memory_kib for replica in self._read()}

    def _read(self) -> list[Replica]:
        return read_replicas(self._kubectl)


def render(result: Result) -> str:
    """The tables for docs/reliability.md, as Markdown."""
    lines = [
        f"{len(result.lives)} of {result.wanted} jobs of {result.app}, kns {__version__}",
        "",
        "| stage | median | longest |",
        "|---|---|---|",
    ]
    stages = [name for name, _ in result.lives[0].times] if result.lives else []
    for name in stages:
        seconds = [dict(life.times)[name] for life in result.lives]
        lines.append(f"| {name} | {median(seconds):.1f} s | {max(seconds):.1f} s |")
    lines += [
        "",
        "| replica | start | after the first | halfway | after the last | growth per job in the second half |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for pod, start in result.start_kib.items() if result.lives else ():
        slope = result.slope_kib(pod)
        first, half, last = (
            _mib(result.lives[index].memory_kib[pod]) for index in (0, (len(result.lives) - 1) // 2, -1)
        )
        added = "-" if slope is None else f"{slope:+.1f} KiB"
        lines.append(f"| {pod} | {_mib(start)} | {first} | {half} | {last} | {added} |")
    lines += ["", *(f"kubectl top: {' '.join(line.split())}" for line in result.top.splitlines()), ""]
    return "\n".join([*lines, *_render_difference(result)])


def _render_difference(result: Result) -> list[str]:
    found, after = result.difference, result.after
    if found is None or after is None:
        return ["The end was not compared with the start."]
    before, now = result.before.count(), after.count()
    counts = [f"{kind}: {before[kind]} before, {now[kind]} after" for kind in sorted(before | now)]
    differing = [line for line, kind in zip(counts, sorted(before | now), strict=True) if before[kind] != now[kind]]
    said = [f"Objects of {after.kinds} kinds: {before.total()} before, {now.total()} after.", *differing]
    return said + [
        f"{what}: {_name(key)}"
        for what, keys, expected in (
            ("left", found.added, EXPECTED.added),
            ("missing", found.removed, EXPECTED.removed),
            ("written to", found.changed, EXPECTED.changed),
        )
        for key in sorted(keys - expected)
    ]


def _name(key: Key) -> str:
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _mib(kib: float) -> str:
    return f"{kib / 1024:.1f} MiB"


def to_json(result: Result) -> dict[str, Any]:
    """The figures for programs, with every job."""
    return {
        "version": __version__,
        "app": result.app,
        "wanted": result.wanted,
        "whole": result.is_whole,
        "start_kib": result.start_kib,
        "lives": [asdict(life) for life in result.lives],
        "slope_kib": {pod: result.slope_kib(pod) for pod in result.start_kib} if result.lives else {},
        "top": result.top.splitlines(),
        "before": dict(result.before.count()),
        "after": dict(result.after.count()) if result.after else None,
    }


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 a job failed or objects are left, 2 not run."""
    options = _build_parser().parse_args(arguments)
    screen = Screen()
    soak: Soak | None = None
    with ExitStack() as stack:

        def run() -> None:
            nonlocal soak
            target = choose_target(environ)
            client = stack.enter_context(Client(read_url(environ), read_accounts(environ)[0], use_proxy=False))
            soak = Soak(target, Kubectl.of(target), client, screen, app=options.app, machine=options.machine)
            soak.run(options.lives)

        run_measurement("soak", run, on_interrupt="the running job was terminated")
    if soak is None or soak.result is None:
        return NOT_RUN
    screen.heading("Result")
    return report(
        soak.result,
        show=lambda result: screen.text(render(result)),
        to_json=to_json,
        file=options.json,
        is_whole=soak.result.is_whole,
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Run jobs in a row, compare all objects before and after, and read the scheduler's memory.",
        epilog=EPILOG,
    )
    parser.add_argument("--lives", type=between(int, 1, MAX_LIVES), default=30, help="number of jobs (30)")
    parser.add_argument("--app", default="hello", help="app of the catalogue, one with a page (hello)")
    parser.add_argument("--machine", default="kns-small", help="machine of the catalogue (kns-small)")
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
