"""kns as a measurement calls it: jobs that are known by their label, made, and taken away again whatever happens."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from bench.accounts import Account
from bench.errors import BenchError, NoAnswerError

TIMEOUT_S = 20.0  # no route may take longer
POLL_S = 2.0
ENDED = frozenset({"COMPLETED", "COMPLETED WITH ERROR", "TERMINATED", "CANCELED"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What kns said, good or bad."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """For messages: the beginning of it."""
        return self.body.decode("utf-8", "replace").strip()[:200]

    def json(self) -> Any:
        """
        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)


class BenchClient:
    """
    One run's jobs on one kns, within `async with`. As many connections as are in use at a time; they stay open.

    aiohttp, as it asks for a tenth of the processor time that httpx does: on a small machine the measurement would
    measure itself.
    """

    def __init__(
        self, url: str, accounts: Sequence[Account], label: str, *, poll_s: float = POLL_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.accounts = accounts
        self.label = label
        self._url = f"{url}/jarvice"
        self._poll_s = poll_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, route: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """
        Whatever kns answers: to a GET, or with a body to a POST.

        Raises:
            NoAnswerError: it does not.
        """
        if self._session is None:
            raise RuntimeError("a BenchClient is used within `async with`")
        method = "GET" if body is None else "POST"
        try:
            async with self._session.request(method, f"{self._url}{route}", params=params, json=body) as answer:
                return Answer(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswerError(route, error) from error

    async def get(self, route: str, account: Account, **params: Any) -> Any:
        """
        The decoded JSON of an answer that must be good.

        Raises:
            BenchError: it is not, or there is none.
        """
        given = {name: str(value) for name, value in params.items()}
        return _expect_good(route, await self.ask(route, params={**account.credentials, **given}))

    async def check_ready(self) -> None:
        """
        Raises:
            BenchError: kns takes no jobs.
        """
        try:
            answer = await self.ask("/ready")
        except NoAnswerError as error:
            raise BenchError(f"{self._url}{error}; is kns up?") from error
        if answer.status != 200:
            raise BenchError(f"kns is not ready: {answer.status} {answer.text}")

    async def try_submit(self, account: Account, *, app: str, machine: str) -> Answer:
        """
        Whatever kns answers.

        Raises:
            NoAnswerError: it does not.
        """
        body = {
            "app": app,
            "machine": {"type": machine, "nodes": 1},
            "job_label": self.label,
            "user": account.credentials,
        }
        return await self.ask("/submit", body=body)

    async def submit(self, account: Account, *, app: str, machine: str) -> int:
        """
        The number of a job that must be taken.

        Raises:
            BenchError: it is not, or there is no answer.
        """
        return int(_expect_good("/submit", await self.try_submit(account, app=app, machine=machine))["number"])

    async def terminate_all(self) -> None:
        """By label, so that a job whose answer was lost is ended too."""
        for account in self.accounts:
            for number in await self._find(account, all_of_them=False):
                await self.get("/terminate", account, number=number)

    async def await_removal(self, *, within_s: float) -> float:
        """
        Seconds until kns says that nothing is left of any job.

        Raises:
            BenchError: something is left after `within_s`.
        """
        begun = time.perf_counter()
        while left := await self._count_left():
            if time.perf_counter() - begun > within_s:
                raise BenchError(
                    f"{left} jobs are not gone after {within_s:.0f} s; "
                    f"kns goes on removing them: kubectl get nj -n kns-system, label {self.label}"
                )
            await asyncio.sleep(self._poll_s)
        return time.perf_counter() - begun

    async def _count_left(self) -> int:
        left = 0
        for account in self.accounts:
            jobs = await self._find(account, all_of_them=True)
            left += sum(job["job_status"] not in ENDED or job["job_substatus"] != 0 for job in jobs.values())
        return left

    async def _find(self, account: Account, *, all_of_them: bool) -> dict[str, Any]:
        """This run's jobs of one account: the live ones, or the ended ones too."""
        wanted = {"label": self.label, "exactmatch": "true", "all": "true" if all_of_them else "false"}
        return dict(await self.get("/jobs", account, **wanted))


def _expect_good(route: str, answer: Answer) -> Any:
    if answer.status != 200:
        raise BenchError(f"{route}: {answer.status} {answer.text}")
    return answer.json()
