"""
Measure how fast a job falls asleep and how fast it is awake again: `python -m bench.wake`.

One job is put to sleep and visited, again and again. A visitor's first request wakes it; the time counts from that
request to the app's own page. kns must give control planes a volume (KNS_VCLUSTER_STORAGE_CLASS).
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from bench.accounts import read_accounts, read_url
from bench.command import EPILOG, NOT_RUN, add_json, between, run_measurement
from bench.errors import BenchError
from bench.page import Section
from bench.start_report import Row, Table, report_tables
from bench.visit import LIMIT_S, PAGE_EVERY_S, await_app, visit
from demo.jobs import caption, terminate_labelled
from demo.kubectl import Kubectl
from demo.target import choose_target
from kns.client import Client, JobEntry

MAX_ROUNDS = 100
WAKE = Section("wake")
_CALM_S = 5.0  # between falling asleep and the visit, and after it: the host still removes pods
_WAITING = 503  # of kns's page before the app
_ASLEEP = "asleep"  # `job_substatus_text` of a job that sleeps


@dataclass(slots=True)
class Result:
    """Seconds of each round: from the request until the job is asleep, and from the visit to the app's page."""

    wanted: int
    asleep_s: list[float] = field(default_factory=list)
    awake_s: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return len(self.awake_s) == self.wanted


def measure(client: Client, ingress_url: str, result: Result, *, machine: str, say: Callable[[str], None]) -> None:
    """
    Run all rounds with one job, which is terminated at the end.

    Raises:
        BenchError, ClientError: the job did not serve, sleep or wake.
    """
    label = f"bench-{secrets.token_hex(4)}"
    try:
        number = client.submit(client.build_submission("hello", machine, job_label=label)).number
        url = _await_url(client, number, label)
        await_app(url, ingress_url, time.perf_counter())
        for count in range(1, result.wanted + 1):
            time.sleep(_CALM_S)
            result.asleep_s.append(_fall_asleep(client, number, label))
            time.sleep(_CALM_S)
            result.awake_s.append(_wake(url, ingress_url))
            say(f"round {count}: asleep after {result.asleep_s[-1]:.1f} s, awake after {result.awake_s[-1]:.1f} s")
    finally:
        terminate_labelled(client, label, say=say)


def _await_url(client: Client, number: int, label: str) -> str:
    begun = time.perf_counter()
    while (info := client.info(number)) is None:
        job = _read(client, number, label)
        if time.perf_counter() - begun > LIMIT_S:
            raise BenchError(f"job {number} does not serve: {caption(job)}")
        time.sleep(PAGE_EVERY_S)
    return str(info["url"])


def _fall_asleep(client: Client, number: int, label: str) -> float:
    begun = time.perf_counter()
    client.sleep(number)
    while (job := _read(client, number, label))["job_substatus_text"] != _ASLEEP:
        if time.perf_counter() - begun > LIMIT_S:
            raise BenchError(f"job {number} does not fall asleep: {caption(job)}")
        time.sleep(PAGE_EVERY_S)
    return time.perf_counter() - begun


def _read(client: Client, number: int, label: str) -> JobEntry:
    live = client.jobs(label=label)  # a list of one
    if number not in live:
        raise BenchError(f"job {number} has ended: {' | '.join(client.output(number, lines=5))}")
    return live[number]


def _wake(url: str, ingress_url: str) -> float:
    """Visit the job, which must be asleep, and reload its page until the app answers."""
    begun = time.perf_counter()
    if (page := visit(url, ingress_url))[0] != _WAITING:
        raise BenchError(f"the job was not asleep: the first visit of {url} got {page[0]}")
    await_app(url, ingress_url, begun)
    return time.perf_counter() - begun


def build_tables(result: Result) -> list[Table]:
    rows = (Row("asleep", {"kns": result.asleep_s}), Row("the app's page", {"kns": result.awake_s}))
    return [Table("page", "after the request", "s", ("kns",), rows)]


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 a part is missing, 2 not run."""
    options = _build_parser().parse_args(arguments)
    result, console, target = Result(options.rounds), Console(), choose_target(environ)

    def run() -> None:
        with Client(read_url(environ), read_accounts(environ)[0], use_proxy=False) as client:
            measure(client, target.ingress_url, result, machine=options.machine, say=console.print)

    run_measurement("bench-wake", run, on_interrupt="the job was terminated")
    if not result.awake_s:
        return NOT_RUN
    kubectl = Kubectl.of(target)
    return report_tables(result, build_tables(result), WAKE, options=options, kubectl=kubectl, console=console)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.wake",
        description="Measure how fast a job falls asleep, and how fast a visit wakes it.",
        epilog=EPILOG,
    )
    parser.add_argument("--rounds", type=between(int, 1, MAX_ROUNDS), default=5, help="times asleep and awake (5)")
    parser.add_argument("--machine", default="kns-small", help="machine of the catalogue (kns-small)")
    parser.add_argument("--write", action="store_true", help="replace the figures and the plot in docs/")
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
