"""
Measure whether clients that poll `status` and `tail` slow the reconciler: `python -m bench.poll`.

Two runs of the same length with the same running jobs: first without, then with the clients. In both, jobs of a real
app are submitted one after another and timed until they are reachable, and the scheduler's metrics are read before and
after. A poll is sent when it is due, whatever the time of the client's last response. At the end, the command
terminates all jobs and waits until kns has removed them.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.accounts import read_accounts, read_url
from bench.client import POLL_S, BenchClient
from bench.command import EPILOG, NOT_RUN, add_common, between, report, run_measurement
from bench.errors import BenchError, NoAnswerError
from bench.figures import Figures, format_ms, format_s
from bench.scheduler import Replica, Work, compare_work, read_replicas
from demo.kubectl import Kubectl
from demo.target import choose_target
from kns.client import ENDED, ApiKey, is_gone

MAX_CLIENTS = 2000
MAX_STANDING = 50
_INTERVAL_S = 0.25
_ROUTES = ("status", "tail")


@dataclass(frozen=True, slots=True)
class Load:
    """
    The parameters: `clients` poll every `every_s` while `standing` jobs run; each run takes `run_s`. `serving_s` is the
    time limit for one job to become reachable, `removal_s` the one for the removal at the end.
    """

    clients: int
    every_s: float
    standing: int
    run_s: float
    app: str
    machine: str
    serving_s: float
    removal_s: float
    label: str


@dataclass(slots=True)
class Polls:
    """The results of the clients. `late_ms` is the delay of this program itself, `cpu_s` its processor time."""

    times_ms: dict[str, list[float]] = field(default_factory=lambda: {route: [] for route in _ROUTES})
    late_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


@dataclass(slots=True)
class Run:
    """One of the two runs. `serving_s` has the seconds from submit to the URL of each job."""

    clients: int
    serving_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0
    work: Work | None = None
    polls: Polls = field(default_factory=Polls)


@dataclass(slots=True)
class Result:
    """Everything that was measured."""

    load: Load
    runs: list[Run] = field(default_factory=list)
    removal_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether both runs ended, every poll succeeded and every job was removed."""
        bad = [answer for run in self.runs for answer in run.polls.answers if not answer.endswith(" 200")]
        return len(self.runs) == 2 and not bad and self.removal_s is not None


class Bench:
    """
    One measurement. `read` returns the scheduler's metrics.

    `interval_s` is the time between two requests about a job that is timed; tests shorten it and `poll_s`.
    """

    def __init__(
        self,
        url: str,
        accounts: Sequence[ApiKey],
        load: Load,
        read: Callable[[], list[Replica]],
        *,
        interval_s: float = _INTERVAL_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._kns = BenchClient(url, accounts, load.label, poll_s=poll_s)
        self._load = load
        self._read = read
        self._interval_s = interval_s
        self._turns = cycle(accounts)
        self._standing: list[tuple[ApiKey, int]] = []
        self.result = Result(load)

    async def run(self) -> Result:
        """
        Measure both runs. The jobs are terminated whatever happens.

        Raises:
            BenchError: kns is not reachable, a job does not become reachable, or the jobs were not removed in time.
        """
        async with self._kns:
            await self._kns.check_ready()
            try:
                for _ in range(self._load.standing):
                    account = next(self._turns)
                    self._standing.append((account, await self._submit(account)))
                for account, number in self._standing:
                    await self._await_url(account, number)
                for clients in (0, self._load.clients):
                    await self._measure(Run(clients))
            finally:
                await self._kns.terminate_all()
            self.result.removal_s = await self._kns.await_removal(within_s=self._load.removal_s)
        return self.result

    async def _measure(self, run: Run) -> None:
        before = await asyncio.to_thread(self._read)
        begun, cpu_s = time.perf_counter(), time.process_time()
        async with self._polling(run):
            while not run.serving_s or time.perf_counter() - begun < self._load.run_s:
                run.serving_s.append(await self._time_one())
        run.elapsed_s = time.perf_counter() - begun
        run.polls.cpu_s = time.process_time() - cpu_s
        run.work = compare_work(before, await asyncio.to_thread(self._read))
        self.result.runs.append(run)

    async def _time_one(self) -> float:
        """Time one job from submit to its URL, then wait for its removal, so that only one timed job runs at a time."""
        account, begun = next(self._turns), time.perf_counter()
        number = await self._submit(account)
        await self._await_url(account, number)
        serving_s = time.perf_counter() - begun
        await self._kns.get("/shutdown", account, number=number)
        await self._await(account, number, is_gone)
        return serving_s

    async def _submit(self, account: ApiKey) -> int:
        return await self._kns.submit(account, app=self._load.app, machine=self._load.machine)

    async def _await_url(self, account: ApiKey, number: int) -> None:
        """Wait until `info` succeeds, which means that the job is reachable."""
        deadline = time.perf_counter() + self._load.serving_s
        params = {**account.params, "number": str(number)}
        while (answer := await self._kns.ask("/info", params=params)).status != 200:
            status = (await self._kns.get("/status", account, number=number))[str(number)]["job_status"]
            if status in ENDED or time.perf_counter() > deadline:
                raise BenchError(
                    f"job {number} was not reachable within {self._load.serving_s:.0f} s: {status} {answer.text}"
                )
            await asyncio.sleep(self._interval_s)

    async def _await(self, account: ApiKey, number: int, is_there: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.perf_counter() + self._load.removal_s
        while not is_there(
            job := (await self._kns.get("/jobs", account, all="true", label=self._load.label))[str(number)]
        ):
            if time.perf_counter() > deadline:
                raise BenchError(f"job {number} is not removed after {self._load.removal_s:.0f} s: {job['job_status']}")
            await asyncio.sleep(self._interval_s)

    @contextlib.asynccontextmanager
    async def _polling(self, run: Run) -> AsyncIterator[None]:
        """Run the clients, evenly spread over their interval, until the block ends."""
        begun = time.perf_counter()
        clients = [
            asyncio.create_task(self._poll(run.polls, index, begun + self._load.every_s * index / run.clients))
            for index in range(run.clients)
        ]
        try:
            yield
        finally:
            for client in clients:
                client.cancel()
            for end in await asyncio.gather(*clients, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end

    async def _poll(self, polls: Polls, index: int, due: float) -> None:
        """One client: `status` and `tail` of one job in turn. After a delay, missed polls are not sent."""
        account, number = self._standing[index % len(self._standing)]
        params = {**account.params, "number": str(number)}
        for route in cycle(_ROUTES):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            try:
                status = str((await self._kns.ask(f"/{route}", params=params)).status)
            except NoAnswerError as error:
                status = error.kind
            now = time.perf_counter()
            polls.answers[f"{route} {status}"] += 1
            if status == "200":
                polls.times_ms[route].append((now - sent) * 1000)
                polls.late_ms.append((sent - due) * 1000)
            due = max(due + self._load.every_s, now)


def show(result: Result, console: Console) -> None:
    """Print the tables for docs/performance.md."""
    load = result.load
    console.print(
        f"poll: {load.clients} clients, each every {load.every_s:g} s; {load.standing} running jobs of {load.app}"
    )
    names = ["without clients", "with clients"][: len(result.runs)]
    console.print(_table("the reconciler", names, [_describe(run) for run in result.runs]))
    polled = [run.polls for run in result.runs if run.clients]
    if polled:
        (polls,) = polled
        columns = {route: _latencies(polls.times_ms[route]) for route in _ROUTES}
        console.print(_table("the clients", list(columns), list(columns.values())))
        for answer, count in sorted(polls.answers.items()):
            console.print(f"{answer}: {count}")
        (run,) = (run for run in result.runs if run.clients)
        console.print(
            f"this program: {100 * polls.cpu_s / run.elapsed_s:.0f} % of one core, "
            f"sent late by {format_ms(Figures.of(polls.late_ms).p99_ms) if polls.late_ms else '-'} (p99)"
        )
    console.print(f"removed after: {format_s(result.removal_s)}")


def _describe(run: Run) -> dict[str, str]:
    work = run.work
    if work is None:
        return {}
    return {
        "submit to serving, median": format_s(median(run.serving_s)),
        "submit to serving, longest": format_s(max(run.serving_s)),
        "jobs": str(len(run.serving_s)),
        "reconciles": str(work.reconciles),
        "mean reconcile": format_ms(work.mean_ms),
        "99 of 100 reconciles within": format_s(work.within_s, digits=3),
        **{f"accepted to end of {stage}, mean": format_s(after_s) for stage, after_s in work.stages.items()},
        "scheduler, share of one core": f"{100 * work.cpu_s / run.elapsed_s:.0f} %",
    }


def _latencies(times_ms: list[float]) -> dict[str, str]:
    if not times_ms:
        return {}
    return {name.removesuffix("_ms"): format_ms(value) for name, value in asdict(Figures.of(times_ms)).items()}


def _table(title: str, columns: Sequence[str], cells: Sequence[Mapping[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for column in columns:
        table.add_column(column, justify="right")
    for row in dict.fromkeys(name for column in cells for name in column):
        table.add_row(row, *(column.get(row, "-") for column in cells))
    return table


def to_json(result: Result) -> dict[str, Any]:
    """The figures for programs."""
    return {
        "load": asdict(result.load),
        "runs": [
            {
                "clients": run.clients,
                "elapsed_s": run.elapsed_s,
                "serving_s": run.serving_s,
                "work": asdict(run.work) if run.work else None,
                "answers": dict(sorted(run.polls.answers.items())),
                "latencies": {route: asdict(Figures.of(times)) for route, times in run.polls.times_ms.items() if times},
                "late": asdict(Figures.of(run.polls.late_ms)) if run.polls.late_ms else None,
                "own_cpu_s": run.polls.cpu_s,
            }
            for run in result.runs
        ],
        "removal_s": result.removal_s,
    }


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 some polls failed or jobs are left, 2 not run."""
    options = _build_parser().parse_args(arguments)
    load = Load(
        clients=options.clients,
        every_s=options.every,
        standing=options.standing,
        run_s=options.seconds,
        app=options.app,
        machine=options.machine,
        serving_s=options.serving,
        removal_s=options.removal,
        label=f"bench-{secrets.token_hex(4)}",
    )
    result: Result | None = None

    def run() -> None:
        nonlocal result
        kubectl = Kubectl.of(choose_target(environ))
        bench = Bench(read_url(environ), read_accounts(environ), load, lambda: read_replicas(kubectl))
        result = bench.result
        asyncio.run(bench.run())

    run_measurement("bench", run, on_interrupt=f"jobs with label {load.label} were terminated")
    if result is None or not result.runs:
        return NOT_RUN
    return report(
        result,
        show=lambda shown: show(shown, Console()),
        to_json=to_json,
        file=options.json,
        is_whole=result.is_whole,
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.poll",
        description="Measure the reconciler without and with polling clients, and remove all jobs afterwards.",
        epilog=EPILOG,
    )
    parser.add_argument("--clients", type=between(int, 1, MAX_CLIENTS), default=200, help="number of clients (200)")
    parser.add_argument("--every", type=between(float, 0.05, 60), default=1.0, help="seconds between polls (1)")
    parser.add_argument("--standing", type=between(int, 1, MAX_STANDING), default=4, help="jobs that are polled (4)")
    parser.add_argument("--seconds", type=between(float, 1, 3600), default=60.0, help="length of each run (60)")
    parser.add_argument("--serving", type=between(float, 1, 3600), default=180.0, help="seconds to a job's URL (180)")
    add_common(parser, machine="kns-small", removal_s=300)
    return parser


if __name__ == "__main__":
    sys.exit(main())
