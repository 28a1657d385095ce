"""kns as a measurement calls it: jobs that are known by their label, made, and taken away again whatever happens."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx

from bench.accounts import Account
from bench.errors import BenchError

TIMEOUT_S = 20.0  # no route may take longer
POLL_S = 2.0
ENDED = frozenset({"COMPLETED", "COMPLETED WITH ERROR", "TERMINATED", "CANCELED"})


class BenchClient:
    """One run's jobs on one kns. `transport` is for tests; connections stay open, at most `connections` of them."""

    def __init__(
        self,
        url: str,
        accounts: Sequence[Account],
        label: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        poll_s: float = POLL_S,
        connections: int = 100,
    ) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self.http = httpx.AsyncClient(
            base_url=f"{url}/jarvice", timeout=TIMEOUT_S, trust_env=False, transport=transport, limits=limits
        )
        self.accounts = accounts
        self.label = label
        self._poll_s = poll_s

    async def check_ready(self) -> None:
        """
        Raises:
            BenchError: kns takes no jobs.
        """
        try:
            answer = await self.http.get("/ready")
        except httpx.HTTPError as error:
            raise BenchError(f"{self.http.base_url}: {error}; is kns up?") from error
        if answer.status_code != 200:
            raise BenchError(f"kns is not ready: {answer.status_code} {answer.text.strip()[:200]}")

    async def submit(self, account: Account, *, app: str, machine: str) -> httpx.Response:
        """
        Whatever kns answers.

        Raises:
            httpx.HTTPError: it does not.
        """
        body = {
            "app": app,
            "machine": {"type": machine, "nodes": 1},
            "job_label": self.label,
            "user": account.credentials,
        }
        return await self.http.post("/submit", json=body)

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

    async def get(self, route: str, account: Account, **params: Any) -> httpx.Response:
        """
        An answer that must be good.

        Raises:
            BenchError: it is not, or there is none.
        """
        try:
            answer = await self.http.get(route, params={**account.credentials, **params})
        except httpx.HTTPError as error:
            raise BenchError(f"{route}: {type(error).__name__} {error}") from error
        if answer.status_code != 200:
            raise BenchError(f"{route}: {answer.status_code} {answer.text.strip()[:200]}")
        return answer

    async def _count_left(self) -> int:
        left = 0
        for account in self.accounts:
            jobs = await self._find(account, all_of_them=True)
            left += sum(job["job_status"] not in ENDED or job["job_substatus"] != 0 for job in jobs.values())
        return left

    async def _find(self, account: Account, *, all_of_them: bool) -> dict[str, Any]:
        """This run's jobs of one account: the live ones, or the ended ones too."""
        wanted = {"label": self.label, "exactmatch": "true", "all": "true" if all_of_them else "false"}
        return dict((await self.get("/jobs", account, **wanted)).json())
