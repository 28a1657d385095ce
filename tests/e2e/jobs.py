"""Jobs under test, and their end: whatever a test does, its jobs are removed."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx
import pytest

from demo.overlay import NAMESPACE
from demo.page import fetch_page
from kns.client import NoResponseError
from tests.e2e import evidence
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

SPAWN_S = 300.0  # alone it takes 20 to 25 s; several workers spawn jobs at the same time
END_S = 120.0
_READ_S = 30.0  # until each replica of kns has seen what one of them has answered
_IN_A_ROW = 8
"""
So many answers in a row show that both replicas have seen a change. Each replica has a cache of its own, and each
request goes to one of them by chance; the chance that one of two did not answer is 1 to 128.
"""
ENDED = frozenset({"COMPLETED", "COMPLETED WITH ERROR", "TERMINATED", "CANCELED"})


class TrialJob:
    """One job, seen by the portal (as its owner) and by the cluster's administrator."""

    def __init__(self, site: Site, portal: Portal, *, record: str, number: int, name: str) -> None:
        self._site = site
        self._portal = portal
        self.record_name = record
        self.number = number
        self.name = name

    @property
    def namespace(self) -> str:
        """Its name on the host: of its namespace, virtual cluster and Ingress."""
        return f"kns-job-{self.number}"

    def record(self) -> dict[str, Any]:
        """The NestedJob as stored."""
        found: dict[str, Any] = self._site.kubectl.get("nj", self.record_name, f"--namespace={NAMESPACE}")
        return found

    def condition(self, kind: str) -> dict[str, Any] | None:
        """One condition of the record."""
        conditions = self.record().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), None)

    def status(self) -> dict[str, Any]:
        """The answer of `status`."""
        return dict(self._portal.get("status", number=self.number)[str(self.number)])

    def entry(self) -> dict[str, Any]:
        """The job's entry in `jobs`, live or ended."""

        def probe() -> dict[str, Any]:
            found: dict[str, Any] = self._portal.get_once("jobs", all="true")
            if str(self.number) not in found:
                raise NotYetError(f"not in the list of {len(found)} jobs")
            return dict(found[str(self.number)])

        return dict(self.wait_for(probe, timeout_s=_READ_S, what="its entry"))

    def output(self) -> list[str]:
        """All lines of the kept output."""
        return self._read("output", lines=0).text.splitlines()

    def tail(self) -> list[str]:
        """All lines so far; none before the start and after the end."""

        def probe() -> list[str]:
            answer = self._portal.ask("tail", number=self.number, lines=0)
            if answer.status_code == 503:
                raise NotYetError(f"tail: {answer.text}")
            return answer.text.splitlines() if answer.status_code == 200 else []

        return list(self.wait_for(probe, timeout_s=_READ_S, what="tail"))

    def stop(self, how: str) -> None:
        """`shutdown` or `terminate`."""
        unanswered = False

        def probe() -> None:
            nonlocal unanswered
            try:
                answer = self._portal.ask(how, number=self.number)
            except NoResponseError:
                unanswered = True
                raise
            if answer.status_code == 503:
                raise NotYetError(f"{how}: {answer.text}")
            if unanswered and answer.status_code == 404:
                return  # the request that got no answer has ended the job
            assert answer.status_code == 200, f"{how} {self.number}: {answer.status_code} {answer.text}"

        self.wait_for(probe, timeout_s=_READ_S, what=how)

    def info(self) -> dict[str, Any]:
        """The answer of `info`."""
        return dict(self._read("info").json())

    def page(self) -> tuple[int, str]:
        """Status and text of the job's page, by its URL, through the ingress controller."""
        url = self.info()["url"]
        found: tuple[int, str] = self.wait_for(
            lambda: fetch_page(url, self._site.ingress_url), timeout_s=_READ_S, what="an answer of its page"
        )
        return found

    def _read(self, route: str, **params: Any) -> httpx.Response:
        """An answer that must be there, because one replica of kns knows already that it is."""

        def probe() -> httpx.Response:
            answer = self._portal.ask(route, number=self.number, **params)
            if answer.status_code in (404, 503):
                raise NotYetError(f"{route}: {answer.status_code} {answer.text}")
            assert answer.status_code == 200, f"{route} {self.number}: {answer.status_code} {answer.text}"
            return answer

        found: httpx.Response = self.wait_for(probe, timeout_s=_READ_S, what=route)
        return found

    def pods(self, *, selector: str = "") -> list[dict[str, Any]]:
        """The pods in its namespace on the host."""
        found = self._site.kubectl.get("pods", f"--namespace={self.namespace}", f"--selector={selector}")
        return list(found["items"])

    def is_gone(self) -> bool:
        """Whether its namespace is gone."""
        return self._site.kubectl.find("namespace", self.namespace) is None

    # --- waiting

    def wait_for(self, probe: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
        """Wait for anything about this job; a failure shows all its objects, events and logs."""
        return wait_for(probe, timeout_s=timeout_s, what=f"job {self.number}: {what}", evidence=self.describe)

    def wait_until_listed(self) -> None:
        """Wait until both replicas list it as a live job: what a replica lists is what it has seen."""

        def probe() -> None:
            for _ in range(_IN_A_ROW):
                if str(self.number) not in self._portal.get_once("jobs"):
                    raise NotYetError("not in the list")

        self.wait_for(probe, timeout_s=_READ_S, what="listed")

    def wait_until_serving(self, *, timeout_s: float = SPAWN_S) -> None:
        """
        Wait until `info` answers at both replicas and the page is there; a job that ends instead fails the test at
        once.
        """

        def probe() -> None:
            for _ in range(_IN_A_ROW):
                state = self._state()
                answer = self._portal.ask("info", number=self.number)
                if answer.status_code != 200:
                    raise NotYetError(f"{state}; info: {answer.text.strip()}")
            code, text = fetch_page(answer.json()["url"], self._site.ingress_url)
            if code != 200:
                raise NotYetError(f"page: {code} {text[:200]}")

        self.wait_for(probe, timeout_s=timeout_s, what="serving")

    def wait_until_started(self) -> None:
        """Wait until its virtual cluster runs."""
        self.wait_until_status({"PROCESSING STARTING"}, timeout_s=SPAWN_S)

    def wait_until_ended(self, *, timeout_s: float = SPAWN_S) -> str:
        """Wait until it has one of the final statuses, which is returned."""
        return self.wait_until_status(ENDED, timeout_s=timeout_s)

    def wait_until_status(self, wanted: Iterable[str], *, timeout_s: float) -> str:
        """Wait until `status` is one of these at both replicas, which is returned."""
        states = frozenset(wanted)

        def probe() -> str:
            for _ in range(_IN_A_ROW):
                state = self._state(*states)
                if state not in states:
                    raise NotYetError(state)
            return state

        return str(self.wait_for(probe, timeout_s=timeout_s, what=f"one of {sorted(states)}"))

    def _state(self, *wanted: str) -> str:
        """The status now. One that is final and not wanted fails the test."""
        state = str(self._portal.get_once("status", number=self.number)[str(self.number)]["job_status"])
        assert state in wanted or state not in ENDED, f"job {self.number} ended as {state}\n{self.describe()}"
        return state

    def wait_until_removed(self) -> None:
        """Wait until the record says so; then the namespace must be gone."""

        def probe() -> None:
            removed = self.condition("Removed")
            if removed is None or removed["status"] != "True":
                raise NotYetError(f"condition Removed: {removed}")

        self.wait_for(probe, timeout_s=END_S, what="removed")
        assert self.is_gone(), f"namespace {self.namespace} exists, although the record says Removed"

    def describe(self) -> str:
        """All its objects, events and logs, for a failure."""
        return evidence.describe_job(self._site.kubectl, self.record_name, self.number)


class JobKeeper:
    """Makes jobs and remembers their records. Deleting a record removes everything of its job."""

    def __init__(self, site: Site, portal: Portal) -> None:
        self._site = site
        self._portal = portal
        self._records: list[str] = []
        self._leaving: list[str] = []

    def submit(self, app: str, *, machine: str = "kns-small", **changes: Any) -> TrialJob:
        """Submit a job that must be accepted."""
        number, name = self._portal.submit(app, machine=machine, **changes)
        return self.adopt(number, name)

    def adopt(self, number: int, name: str, *, record: str = "", portal: Portal | None = None) -> TrialJob:
        """A job that somebody else submitted, to be removed like the others. `portal`: its owner's, if not ours."""
        record = record or f"kns-job-{number}"
        if record not in self._records:
            self._records.append(record)
        return TrialJob(self._site, portal or self._portal, record=record, number=number, name=name)

    def apply(self, record: str, spec: Mapping[str, Any]) -> None:
        """`kubectl apply` of a NestedJob."""
        self._records.append(record)
        apply_record(self._site, record, spec)

    @property
    def mark(self) -> int:
        """The number of jobs so far, for `release`."""
        return len(self._records)

    def release(self, *, since: int) -> None:
        """Delete all jobs made after the mark; `close` waits until they are gone."""
        records, self._records = self._records[since:], self._records[:since]
        if records:
            self._site.kubectl.run(
                "delete", "nj", *records, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait=false"
            )
        self._leaving += records

    def close(self) -> None:
        """Delete what is left and wait until no record of ours exists; kns removes a record after all of its job."""
        self.release(since=0)
        if self._leaving:
            self.await_all_gone()
        self._leaving.clear()

    def await_all_gone(self) -> None:
        """Wait until the records of released jobs are gone, and a moment later the Secrets that they own."""

        def probe() -> None:
            text = self._site.kubectl.run("get", "nj,secrets", f"--namespace={NAMESPACE}", "--output=name")
            there = [line.partition("/")[2] for line in text.split()]
            owned = {f"{record}{suffix}" for record in self._leaving for suffix in ("", "-tokens", "-output")}
            if left := [name for name in there if name in owned]:
                raise NotYetError(f"still exist: {', '.join(left)}")

        wait_for(
            probe,
            timeout_s=END_S,
            what="the end of all test jobs",
            evidence=lambda: evidence.describe_scheduler(self._site.kubectl),
        )


KEEPERS = pytest.StashKey[list[JobKeeper]]()
"""The worker's keepers, for the test that ends the cluster: their jobs must be gone before it."""


def add_keeper(config: pytest.Config, keeper: JobKeeper) -> JobKeeper:
    config.stash.setdefault(KEEPERS, []).append(keeper)
    return keeper


def apply_record(site: Site, record: str, spec: Mapping[str, Any]) -> str:
    """
    `kubectl apply` of a NestedJob. Returns kubectl's output.

    Raises:
        DemoError: the API server refused it.
    """
    manifest = {
        "apiVersion": "kns.io/v1alpha1",
        "kind": "NestedJob",
        "metadata": {"name": record, "namespace": NAMESPACE},
        "spec": dict(spec),
    }
    return site.kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))
