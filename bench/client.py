"""
An asynchronous client of kns for measurements. Its jobs have one label, and are terminated whatever happens.

It is separate from `kns.client` because it uses aiohttp, which needs a tenth of the processor time of httpx. With
httpx, the measurement would measure itself on a small machine. What both clients know about the API is in `kns.client`.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from bench.errors import BenchError, NoAnswerError
from kns.client import PREFIX, TIMEOUT_S, ApiKey, build_submission, is_gone

POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, a success or an error."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, for messages."""
        return self.body.decode("utf-8", "replace").strip()[:200]

    def json(self) -> Any:
        """
        Raises:
            ValueError: the body is not JSON.
        """
        return json.loads(self.body)


class BenchClient:
    """
    The jobs of one run on one kns, within `async with`. The number of connections has no limit, and they stay open.
    """

    def __init__(
        self, url: str, accounts: Sequence[ApiKey], label: str, *, poll_s: float = POLL_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.accounts = accounts
        self.label = label
        self._url = f"{url}{PREFIX}"
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
        Any response to a GET request, or with `body` to a POST request.

        Raises:
            NoAnswerError: kns did not respond.
        """
        if self._session is None:
            raise RuntimeError("a BenchClient is used within `async with`")
        method = "GET" if body is None else "POST"
        try:
            async with self._session.request(method, f"{self._url}{route}", params=params, json=body) as answer:
                return Answer(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswerError(route, error) from error

    async def get(self, route: str, account: ApiKey, **params: Any) -> Any:
        """
        The decoded JSON of a successful response.

        Raises:
            BenchError: the response is an error, or kns did not respond.
        """
        given = {name: str(value) for name, value in params.items()}
        return _expect_good(route, await self.ask(route, params={**account.params, **given}))

    async def check_ready(self) -> None:
        """
        Raises:
            BenchError: kns is not ready.
        """
        try:
            answer = await self.ask("/ready")
        except NoAnswerError as error:
            raise BenchError(f"{self._url}{error}; is kns running?") from error
        if answer.status != 200:
            raise BenchError(f"kns is not ready: {answer.status} {answer.text}")

    async def try_submit(self, account: ApiKey, *, app: str, machine: str) -> Answer:
        """
        Any response to a submission.

        Raises:
            NoAnswerError: kns did not respond.
        """
        return await self.ask("/submit", body=build_submission(app, machine, credentials=account, job_label=self.label))

    async def submit(self, account: ApiKey, *, app: str, machine: str) -> int:
        """
        Submit a job, and return its number.

        Raises:
            BenchError: kns refused the job, or did not respond.
        """
        return int(_expect_good("/submit", await self.try_submit(account, app=app, machine=machine))["number"])

    async def terminate_all(self) -> None:
        """Terminate all live jobs of the run. The label finds those whose response was lost too."""
        for account in self.accounts:
            for number in await self._find(account, ended=False):
                await self.get("/terminate", account, number=number)

    async def await_removal(self, *, within_s: float) -> float:
        """
        The seconds until kns has removed all jobs.

        Raises:
            BenchError: a job is left after `within_s`.
        """
        begun = time.perf_counter()
        while left := await self._count_left():
            if time.perf_counter() - begun > within_s:
                raise BenchError(
                    f"{left} jobs are not removed after {within_s:.0f} s; "
                    f"kns continues to remove them: kubectl get nj -n kns-system, label {self.label}"
                )
            await asyncio.sleep(self._poll_s)
        return time.perf_counter() - begun

    async def _count_left(self) -> int:
        left = 0
        for account in self.accounts:
            jobs = await self._find(account, ended=True)
            left += sum(not is_gone(job) for job in jobs.values())
        return left

    async def _find(self, account: ApiKey, *, ended: bool) -> dict[str, Any]:
        """The live jobs of one account in this run; with `ended` the ended ones too."""
        wanted = {"label": self.label, "exactmatch": "true", "all": "true" if ended else "false"}
        return dict(await self.get("/jobs", account, **wanted))


def _expect_good(route: str, answer: Answer) -> Any:
    if answer.status != 200:
        raise BenchError(f"{route}: {answer.status} {answer.text}")
    return answer.json()
