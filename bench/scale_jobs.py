"""The jobs of `bench.scale`: they are submitted and terminated over kns's HTTP API, and observed in their records."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.client import BenchClient
from bench.errors import BenchError
from bench.page_server import APP
from bench.scale_host import SYSTEM
from bench.scale_watch import follow
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import RECORDS
from kns.client import ApiKey
from kns.model.job.conditions import ConditionType

MACHINE = "small"
_LOOK_S = 0.25  # the moments are those of the watch; this only delays what the load does next


@dataclass(slots=True)
class Life:
    """
    The moments of one job on the monotonic clock: the submission was sent and answered, kns began to work on the
    record, the URL was published, the end was requested, everything was removed.
    """

    number: int
    account: ApiKey
    sent: float
    acked: float
    accepted: float | None = None
    ready: float | None = None
    ended: float | None = None
    stopped: float | None = None
    gone: float | None = None
    failure: str = ""

    def spans_ms(self) -> dict[str, float]:
        """The spans of the report that are known."""
        pairs = {
            "create-ack": (self.sent, self.acked),
            "accepted": (self.sent, self.accepted),
            "ready": (self.sent, self.ready),
            "gone": (self.stopped, self.gone),
        }
        return {
            name: (end - begin) * 1000 for name, (begin, end) in pairs.items() if begin is not None and end is not None
        }


@dataclass(slots=True)
class _Seen:
    """When a record showed what, by its number."""

    moments: dict[int, dict[str, float]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


class RecordWatch:
    """A watch on the records, in a thread of its own. The moments are those of the events' arrival."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._seen = _Seen()
        self._thread = threading.Thread(target=self._run, name="watch-records", daemon=True)
        self._is_closed = False

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closed = True

    def moment(self, number: int, what: str) -> float | None:
        return self._seen.moments.get(number, {}).get(what)

    def failure(self, number: int) -> str:
        return self._seen.failures.get(number, "")

    def _run(self) -> None:
        for kind, record in follow(self._client, RECORDS.path(SYSTEM), is_closed=lambda: self._is_closed):
            if kind != "DELETED":
                self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        number = ((record.get("spec") or {}).get("accepted") or {}).get("number")
        if number is None:
            return
        moments, now = self._seen.moments.setdefault(number, {}), time.monotonic()
        status = record.get("status") or {}
        true = {each["type"] for each in status.get("conditions") or () if each["status"] == "True"}
        if status.get("observedGeneration"):
            moments.setdefault("accepted", now)
        for what, kind in (
            ("ready", ConditionType.EXPOSED),
            ("ended", ConditionType.ENDED),
            ("gone", ConditionType.REMOVED),
        ):
            if kind in true:
                moments.setdefault(what, now)
        if "ended" in moments and status.get("reason") not in (None, "Terminate"):
            self._seen.failures[number] = f"{status.get('reason')}: {status.get('message')}"


class Jobs:
    """All jobs of one run."""

    def __init__(self, client: BenchClient, watch: RecordWatch, *, patience_s: float) -> None:
        self._client = client
        self._watch = watch
        self._patience_s = patience_s
        self._submitted = 0
        self.live: list[Life] = []

    async def submit(self) -> Life:
        """
        Raises:
            BenchError: kns refused the job.
        """
        accounts = self._client.accounts
        account = accounts[self._submitted % len(accounts)]
        self._submitted += 1
        sent = time.monotonic()
        number = await self._client.submit(account, app=APP, machine=MACHINE)
        return Life(number, account, sent, time.monotonic())

    async def await_ready(self, life: Life) -> None:
        await self._await(life, "ready", since=life.sent)
        life.accepted = self._watch.moment(life.number, "accepted")
        life.ready = self._watch.moment(life.number, "ready")

    async def terminate(self, life: Life) -> None:
        life.stopped = time.monotonic()
        await self._client.get("/terminate", life.account, number=life.number)

    async def await_gone(self, life: Life) -> None:
        await self._await(life, "gone", since=life.stopped or time.monotonic())
        life.gone = self._watch.moment(life.number, "gone")

    async def live_once(self) -> Life:
        """One whole life: it is terminated as soon as it is ready."""
        life = await self.submit()
        await self.await_ready(life)
        await self.terminate(life)
        await self.await_gone(life)
        return life

    async def raise_to(self, count: int, *, window: int) -> list[Life]:
        """Submit until so many jobs are live, at most `window` at a time that are not ready. Returns the new ones."""
        slots = asyncio.Semaphore(window)

        async def one() -> Life:
            async with slots:
                life = await self.submit()
                await self.await_ready(life)
                return life

        new = list(await asyncio.gather(*(one() for _ in range(count - len(self.live)))))
        self.live += new
        return new

    async def release(self, count: int) -> list[Life]:
        """Submit so many at the same moment, and wait until all are ready."""
        new = list(await asyncio.gather(*(self.submit() for _ in range(count))))
        await asyncio.gather(*(self.await_ready(life) for life in new))
        self.live += new
        return new

    async def end_all(self) -> list[Life]:
        """Terminate all live jobs at the same moment, and wait until all are gone."""
        lives, self.live = self.live, []
        await self._each(lives, self.terminate)
        await asyncio.gather(*(self.await_gone(life) for life in lives))
        return lives

    async def churn(self, count: int, *, window: int) -> AsyncIterator[Life]:
        """So many whole lives, with at most `window` at a time. Each is yielded when it has ended."""
        slots = asyncio.Semaphore(window)

        async def one() -> Life:
            async with slots:
                return await self.live_once()

        for next_ended in asyncio.as_completed([one() for _ in range(count)]):
            yield await next_ended

    @staticmethod
    async def _each(lives: Iterable[Life], act: Any, *, at_once: int = 64) -> None:
        slots = asyncio.Semaphore(at_once)

        async def one(life: Life) -> None:
            async with slots:
                await act(life)

        await asyncio.gather(*(one(life) for life in lives))

    async def _await(self, life: Life, what: str, *, since: float) -> None:
        """
        Raises:
            BenchError: the job ended otherwise, or it takes too long.
        """
        while self._watch.moment(life.number, what) is None:
            if failure := self._watch.failure(life.number):
                raise BenchError(f"job {life.number} ended: {failure}")
            if time.monotonic() - since > self._patience_s:
                raise BenchError(f"job {life.number} is not {what} after {self._patience_s:.0f} s")
            await asyncio.sleep(_LOOK_S)
