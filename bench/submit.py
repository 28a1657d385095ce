"""
Measure the response time of `submit` at a steady rate of submissions: `python -m bench.submit`.

Each request is sent when it is due, even if earlier requests have no response yet, so a slow response delays no later
request. The jobs use a machine whose node does not exist: kns does everything for them that happens before a pod
starts, and the cluster is otherwise idle. At the end, the command terminates all jobs and waits until kns has removed
them.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.accounts import read_accounts, read_url
from bench.client import POLL_S, BenchClient
from bench.command import EPILOG, NOT_RUN, add_common, between, report, run_measurement
from bench.errors import BenchError, NoAnswerError
from bench.figures import Figures, format_ms, format_s
from kns.client import ApiKey

MAX_JOBS = 2000
MAX_RATE = 200.0
BUSY_MS = 20.0  # a request sent later than this measures the load of this machine, not kns


@dataclass(frozen=True, slots=True)
class Load:
    """The parameters: number of jobs, jobs per second, and in `removal_s` the time limit for their removal."""

    jobs: int
    rate: float
    app: str
    machine: str
    removal_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """One response. `number` is None if the job was refused or there was no response."""

    account: ApiKey
    status: str
    elapsed_ms: float
    late_ms: float
    number: int | None


@dataclass(slots=True)
class Result:
    """Everything that was measured."""

    load: Load
    accounts: list[str]
    answers: list[Submitted] = field(default_factory=list)
    sending_s: float | None = None
    removal_s: float | None = None

    @property
    def good(self) -> list[Submitted]:
        """The responses that accepted a job."""
        return [answer for answer in self.answers if answer.number is not None]

    @property
    def statuses(self) -> Counter[str]:
        """The number of responses by status."""
        return Counter(answer.status for answer in self.answers)

    @property
    def is_whole(self) -> bool:
        """Whether every submission became a job and every job was removed."""
        return len(self.good) == self.load.jobs and self.removal_s is not None


class Bench:
    """One run on one kns."""

    def __init__(self, url: str, accounts: Sequence[ApiKey], load: Load, *, poll_s: float = POLL_S) -> None:
        self._kns = BenchClient(url, accounts, load.label, poll_s=poll_s)
        self._load = load
        self.result = Result(load, [account.username for account in accounts])

    async def run(self) -> Result:
        """
        Submit all jobs, terminate them and wait for their removal. The jobs are terminated whatever happens.

        Raises:
            BenchError: kns is not reachable, or the jobs were not removed in time.
        """
        async with self._kns:
            await self._kns.check_ready()
            try:
                await self._submit_all()
            finally:
                await self._kns.terminate_all()
            self.result.removal_s = await self._kns.await_removal(within_s=self._load.removal_s)
        return self.result

    async def _submit_all(self) -> None:
        begun = time.perf_counter()
        turns = zip(range(self._load.jobs), cycle(self._kns.accounts), strict=False)
        async with asyncio.TaskGroup() as group:
            for index, account in turns:
                due = begun + index / self._load.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._submit(account, due))
        self.result.sending_s = time.perf_counter() - begun

    async def _submit(self, account: ApiKey, due: float) -> None:
        sent, number = time.perf_counter(), None
        try:
            answer = await self._kns.try_submit(account, app=self._load.app, machine=self._load.machine)
            status = str(answer.status)
            if answer.status == 200:
                number = int(answer.json()["number"])
        except NoAnswerError as error:
            status = error.kind
        elapsed_ms = (time.perf_counter() - sent) * 1000
        self.result.answers.append(Submitted(account, status, elapsed_ms, (sent - due) * 1000, number))


def check_limit(load: Load, accounts: int, limit: int) -> None:
    """
    Check that kns accepts the load.

    Raises:
        BenchError: one account would exceed its submits per minute.

    >>> check_limit(Load(100, 10.0, "hello", "kns-nowhere", 60.0, "x"), accounts=4, limit=60)
    """
    in_a_minute = min(load.jobs, load.rate * 60)
    each = -(-in_a_minute // accounts)
    if each > limit:
        raise BenchError(
            f"each of {accounts} accounts would submit {each:.0f} times a minute, and the limit is {limit}; use fewer "
            "jobs, or raise KNS_SUBMITS_PER_MINUTE in ConfigMap kns-config, restart the Deployment and pass --limit"
        )


def show(result: Result, console: Console) -> None:
    """Print the table for docs/performance.md."""
    load, good = result.load, result.good
    console.print(f"submit: {load.jobs} jobs, {load.rate:g} a second, app {load.app} on {load.machine}")
    table = Table()
    table.add_column("figure")
    table.add_column("value", justify="right")
    rows: list[tuple[str, str]] = []
    latest_ms = max((answer.late_ms for answer in good), default=0.0)
    if good:
        figures = Figures.of([answer.elapsed_ms for answer in good])
        rows += [(name.removesuffix("_ms"), format_ms(value)) for name, value in asdict(figures).items()]
        rows.append(("latest sent", f"{latest_ms:.1f} ms after it was due"))
    rows += [(f"responses: {status}", str(count)) for status, count in sorted(result.statuses.items())]
    rows.append(("sent and answered in", format_s(result.sending_s, missing="not all sent")))
    rows.append(("removed after", format_s(result.removal_s, missing="not removed")))
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if latest_ms > BUSY_MS:
        console.print(
            f"warning: a request was sent {latest_ms:.1f} ms late, because this machine was busy; the figures are not "
            "valid, so measure again"
        )


def to_json(result: Result) -> dict[str, Any]:
    """The figures for programs, with every response time in the order of the responses."""
    times = [round(answer.elapsed_ms, 2) for answer in result.good]
    return {
        "load": asdict(result.load),
        "accounts": result.accounts,
        "figures": asdict(Figures.of(times)) if times else None,
        "answers": dict(sorted(result.statuses.items())),
        "latest_sent_ms": max((round(answer.late_ms, 2) for answer in result.good), default=None),
        "sending_s": result.sending_s,
        "removal_s": result.removal_s,
        "times_ms": times,
    }


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 some jobs refused or left, 2 not run."""
    options = _build_parser().parse_args(arguments)
    load = Load(
        jobs=options.jobs,
        rate=options.rate,
        app=options.app,
        machine=options.machine,
        removal_s=options.removal,
        label=f"bench-{secrets.token_hex(4)}",
    )
    result: Result | None = None

    def run() -> None:
        nonlocal result
        accounts = read_accounts(environ)
        check_limit(load, len(accounts), options.limit)
        bench = Bench(read_url(environ), accounts, load)
        result = bench.result
        asyncio.run(bench.run())

    run_measurement("bench", run, on_interrupt=f"jobs with label {load.label} were terminated")
    if result is None or not result.answers:
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
        prog="python -m bench.submit",
        description="Measure the response time of submit, and remove all jobs afterwards.",
        epilog=f"{EPILOG} The submissions alternate between the accounts, because kns accepts at most "
        "KNS_SUBMITS_PER_MINUTE (60) a minute from one user.",
    )
    parser.add_argument("--jobs", type=between(int, 1, MAX_JOBS), default=100, help="number of jobs (100)")
    parser.add_argument("--rate", type=between(float, 0.1, MAX_RATE), default=10.0, help="jobs per second (10)")
    parser.add_argument("--limit", type=between(int, 1, 1_000_000), default=60, help="the site's limit per user (60)")
    add_common(parser, machine="kns-nowhere", removal_s=900)
    return parser


if __name__ == "__main__":
    sys.exit(main())
