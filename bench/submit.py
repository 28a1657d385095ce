"""
How long `submit` takes to answer while jobs come in at a steady rate: `python -m bench.submit`.

Requests are sent when they are due, whether or not earlier ones have been answered, so a slow answer is not hidden by
what waits behind it. The jobs go to a machine whose node does not exist: kns does for each all that it does before a
pod starts, and the measured cluster stays otherwise idle. Afterwards all of them are terminated, and the command waits
until kns has removed them.
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

from bench.accounts import Account, read_accounts, read_url
from bench.client import POLL_S, BenchClient
from bench.command import between, write_json
from bench.errors import BenchError, NoAnswerError
from bench.figures import Figures

MAX_JOBS = 2000
MAX_RATE = 200.0
BUSY_MS = 20.0  # sent later than this, a request says more of this machine than of kns


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for: so many jobs, so many a second. `removal_s` bounds the wait for their removal."""

    jobs: int
    rate: float
    app: str
    machine: str
    removal_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """One answer. `number` is None if the job was refused, or if there was no answer."""

    account: Account
    status: str
    elapsed_ms: float
    late_ms: float
    number: int | None


@dataclass(slots=True)
class Result:
    """All that was seen. Times are in the unit that their names end with."""

    load: Load
    accounts: list[str]
    answers: list[Submitted] = field(default_factory=list)
    sending_s: float | None = None
    removal_s: float | None = None

    @property
    def good(self) -> list[Submitted]:
        """Those that became jobs."""
        return [answer for answer in self.answers if answer.number is not None]

    @property
    def statuses(self) -> Counter[str]:
        """How often each status came."""
        return Counter(answer.status for answer in self.answers)

    @property
    def is_whole(self) -> bool:
        """Every submission became a job, and every job is gone."""
        return len(self.good) == self.load.jobs and self.removal_s is not None


class Bench:
    """One run against one kns."""

    def __init__(self, url: str, accounts: Sequence[Account], load: Load, *, poll_s: float = POLL_S) -> None:
        self._kns = BenchClient(url, accounts, load.label, poll_s=poll_s)
        self._load = load
        self.result = Result(load, [account.username for account in accounts])

    async def run(self) -> Result:
        """
        Submit, terminate, wait. Whatever happens, the jobs are terminated.

        Raises:
            BenchError: kns cannot be reached, or the jobs are not gone in time.
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

    async def _submit(self, account: Account, due: float) -> None:
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
    Refuse a load that kns itself would refuse.

    Raises:
        BenchError: one account would submit more a minute than it may.

    >>> check_limit(Load(100, 10.0, "hello", "kns-nowhere", 60.0, "x"), accounts=4, limit=60)
    """
    in_a_minute = min(load.jobs, load.rate * 60)
    each = -(-in_a_minute // accounts)
    if each > limit:
        raise BenchError(
            f"{each:.0f} submits a minute for each of {accounts} accounts, and a user may make {limit}: take fewer "
            "jobs, or set KNS_SUBMITS_PER_MINUTE in ConfigMap kns-config, restart the Deployment, and say --limit"
        )


def show(result: Result, console: Console) -> None:
    """
    The table that docs/performance.md wants.
    """
    load, good = result.load, result.good
    console.print(f"submit: {load.jobs} jobs, {load.rate:g} a second, app {load.app} on {load.machine}")
    table = Table()
    table.add_column("figure")
    table.add_column("value", justify="right")
    rows: list[tuple[str, str]] = []
    latest_ms = max((answer.late_ms for answer in good), default=0.0)
    if good:
        figures = Figures.of([answer.elapsed_ms for answer in good])
        rows += [(name.removesuffix("_ms"), f"{value:.1f} ms") for name, value in asdict(figures).items()]
        rows.append(("latest sent", f"{latest_ms:.1f} ms after it was due"))
    rows += [(f"answers: {status}", str(count)) for status, count in sorted(result.statuses.items())]
    rows.append(("sent and answered in", _seconds(result.sending_s, "not all sent")))
    rows.append(("gone after", _seconds(result.removal_s, "not gone")))
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if latest_ms > BUSY_MS:
        console.print(
            f"warning: a request was sent {latest_ms:.1f} ms late: this machine was too busy for these figures to mean "
            "anything; measure again"
        )


def _seconds(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.1f} s"


def to_json(result: Result) -> dict[str, Any]:
    """
    The same for a program, with every single time in the order of answers.
    """
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
    """
    Run from the command line. Returns the exit status: 0 all well, 1 some refused or left, 2 not run.
    """
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
    try:
        accounts = read_accounts(environ)
        check_limit(load, len(accounts), options.limit)
        bench = Bench(read_url(environ), accounts, load)
        result = bench.result
        asyncio.run(bench.run())
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"bench: interrupted; jobs with label {load.label} were told to terminate\n")
    if result is None or not result.answers:
        return 2
    show(result, Console())
    if options.json:
        write_json(options.json, to_json(result))
    return 0 if result.is_whole else 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.submit",
        description="Measures how long submit takes to answer, and takes all jobs away again.",
        epilog='Address and accounts come from the environment: eval "$(make -s env)". Submits go round the accounts, '
        "because kns takes at most KNS_SUBMITS_PER_MINUTE (60) a minute from one user.",
    )
    parser.add_argument("--jobs", type=between(int, 1, MAX_JOBS), default=100, help="how many (100)")
    parser.add_argument("--rate", type=between(float, 0.1, MAX_RATE), default=10.0, help="how many a second (10)")
    parser.add_argument("--app", default="hello", help="app of the catalogue (hello)")
    parser.add_argument("--machine", default="kns-nowhere", help="machine; by default one that starts no pod")
    parser.add_argument("--limit", type=between(int, 1, 1_000_000), default=60, help="the site's limit per user (60)")
    parser.add_argument(
        "--removal", type=between(float, 1, 7200), default=900.0, help="seconds to wait for the end (900)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there too; - for stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
