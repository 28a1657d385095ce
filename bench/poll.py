"""
Whether clients that poll `status` and `tail` slow the reconciler: `python -m bench.poll`.

Two runs of the same length, one after the other, over the same standing jobs: first without, then with the clients. In
both, jobs of a real app are submitted one after another and timed until they can be reached, and the scheduler's own
metrics are read before and after. A poll is sent when it is due, whether or not that client's last one was quick.
Afterwards all jobs are terminated, and the command waits until kns has removed them.
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

from bench.accounts import Account, read_accounts, read_url
from bench.client import ENDED, POLL_S, BenchClient
from bench.command import between, write_json
from bench.errors import BenchError, NoAnswerError
from bench.figures import Figures
from bench.scheduler import Replica, Work, compare_work, read_replicas
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.target import choose_target

MAX_CLIENTS = 2000
MAX_STANDING = 50
_LOOK_S = 0.25
_ROUTES = ("status", "tail")


@dataclass(frozen=True, slots=True)
class Load:
    """
    What is asked for: so many clients, each of which polls every `every_s`; so many jobs that stand meanwhile; runs of
    `run_s`. `serving_s` bounds the way of one job to its URL, `removal_s` the wait at the end.
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
    """What the clients saw. `late_ms` is by how much this program itself was late, `cpu_s` what it used."""

    times_ms: dict[str, list[float]] = field(default_factory=lambda: {route: [] for route in _ROUTES})
    late_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


@dataclass(slots=True)
class Run:
    """One of the two. `serving_s`: each job's seconds from submit to its URL."""

    clients: int
    serving_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0
    work: Work | None = None
    polls: Polls = field(default_factory=Polls)


@dataclass(slots=True)
class Result:
    """All that was seen."""

    load: Load
    runs: list[Run] = field(default_factory=list)
    removal_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Both runs came to their end, every poll was answered well, and every job is gone."""
        bad = [answer for run in self.runs for answer in run.polls.answers if not answer.endswith(" 200")]
        return len(self.runs) == 2 and not bad and self.removal_s is not None


class Bench:
    """One measurement. `read` gives the scheduler's metrics; the times are for tests."""

    def __init__(
        self,
        url: str,
        accounts: Sequence[Account],
        load: Load,
        read: Callable[[], list[Replica]],
        *,
        look_s: float = _LOOK_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._kns = BenchClient(url, accounts, load.label, poll_s=poll_s)
        self._load = load
        self._read = read
        self._look_s = look_s
        self._turns = cycle(accounts)
        self._standing: list[tuple[Account, int]] = []
        self.result = Result(load)

    async def run(self) -> Result:
        """
        Both runs. Whatever happens, the jobs are terminated.

        Raises:
            BenchError: kns cannot be reached, a job does not come to serve, or the jobs are not gone in time.
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
        """One job from submit to its URL; its end is waited for, so that two never run at once."""
        account, begun = next(self._turns), time.perf_counter()
        number = await self._submit(account)
        await self._await_url(account, number)
        serving_s = time.perf_counter() - begun
        await self._kns.get("/shutdown", account, number=number)
        await self._await(account, number, lambda job: job["job_status"] in ENDED and job["job_substatus"] == 0)
        return serving_s

    async def _submit(self, account: Account) -> int:
        return await self._kns.submit(account, app=self._load.app, machine=self._load.machine)

    async def _await_url(self, account: Account, number: int) -> None:
        """`info` answers as soon as the job can be reached."""
        deadline = time.perf_counter() + self._load.serving_s
        params = {**account.credentials, "number": str(number)}
        while (answer := await self._kns.ask("/info", params=params)).status != 200:
            status = (await self._kns.get("/status", account, number=number))[str(number)]["job_status"]
            if status in ENDED or time.perf_counter() > deadline:
                raise BenchError(f"job {number} serves not within {self._load.serving_s:.0f} s: {status} {answer.text}")
            await asyncio.sleep(self._look_s)

    async def _await(self, account: Account, number: int, is_there: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.perf_counter() + self._load.removal_s
        while not is_there(
            job := (await self._kns.get("/jobs", account, all="true", label=self._load.label))[str(number)]
        ):
            if time.perf_counter() > deadline:
                raise BenchError(f"job {number} is not gone after {self._load.removal_s:.0f} s: {job['job_status']}")
            await asyncio.sleep(self._look_s)

    @contextlib.asynccontextmanager
    async def _polling(self, run: Run) -> AsyncIterator[None]:
        """The clients, evenly spread over their interval, until the block ends."""
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
        """One client: `status` and `tail` of one job in turns. What is late is not made up for."""
        account, number = self._standing[index % len(self._standing)]
        params = {**account.credentials, "number": str(number)}
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
    """
    The tables that docs/performance.md wants.
    """
    load = result.load
    console.print(
        f"poll: {load.clients} clients, each every {load.every_s:g} s; {load.standing} jobs of {load.app} stand"
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
            f"sent late by {_ms(Figures.of(polls.late_ms).p99_ms) if polls.late_ms else '-'} (p99)"
        )
    console.print(f"gone after: {_s(result.removal_s)}")


def _describe(run: Run) -> dict[str, str]:
    work = run.work
    if work is None:
        return {}
    return {
        "submit to serving, median": _s(median(run.serving_s)),
        "submit to serving, longest": _s(max(run.serving_s)),
        "jobs": str(len(run.serving_s)),
        "passes": str(work.passes),
        "mean of a pass": _ms(work.mean_ms),
        "99 of 100 passes within": _s(work.within_s, digits=3),
        **{f"accepted to end of {stage}, mean": _s(after_s) for stage, after_s in work.stages.items()},
        "scheduler, share of one core": f"{100 * work.cpu_s / run.elapsed_s:.0f} %",
    }


def _latencies(times_ms: list[float]) -> dict[str, str]:
    if not times_ms:
        return {}
    return {name.removesuffix("_ms"): _ms(value) for name, value in asdict(Figures.of(times_ms)).items()}


def _table(title: str, columns: Sequence[str], cells: Sequence[Mapping[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for column in columns:
        table.add_column(column, justify="right")
    for row in dict.fromkeys(name for column in cells for name in column):
        table.add_row(row, *(column.get(row, "-") for column in cells))
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _s(value: float | None, *, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f} s"


def to_json(result: Result) -> dict[str, Any]:
    """
    The same for a program.
    """
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
    """
    Run from the command line. Returns the exit status: 0 all well, 1 some polls failed or jobs are left, 2 not run.
    """
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
    bench: Bench | None = None
    try:
        kubectl = Kubectl.of(choose_target(environ))
        bench = Bench(read_url(environ), read_accounts(environ), load, lambda: read_replicas(kubectl))
        asyncio.run(bench.run())
    except (BenchError, DemoError) as error:
        sys.stderr.write(f"bench: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"bench: interrupted; jobs with label {load.label} were told to terminate\n")
    if bench is None or not bench.result.runs:
        return 2
    show(bench.result, Console())
    if options.json:
        write_json(options.json, to_json(bench.result))
    return 0 if bench.result.is_whole else 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.poll",
        description="Measures the reconciler without and with clients that poll, and takes all jobs away again.",
        epilog='Address and accounts come from the environment: eval "$(make -s env)".',
    )
    parser.add_argument("--clients", type=between(int, 1, MAX_CLIENTS), default=200, help="how many (200)")
    parser.add_argument("--every", type=between(float, 0.05, 60), default=1.0, help="each polls every so many s (1)")
    parser.add_argument("--standing", type=between(int, 1, MAX_STANDING), default=4, help="jobs that are polled (4)")
    parser.add_argument("--seconds", type=between(float, 1, 3600), default=60.0, help="length of each run (60)")
    parser.add_argument("--app", default="hello", help="app of the catalogue (hello)")
    parser.add_argument("--machine", default="kns-small", help="machine of the catalogue (kns-small)")
    parser.add_argument("--serving", type=between(float, 1, 3600), default=180.0, help="seconds to a job's URL (180)")
    parser.add_argument("--removal", type=between(float, 1, 7200), default=300.0, help="seconds to the end (300)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too; - for stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
