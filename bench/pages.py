"""
Measure the live page: how long a job's page takes, and what many open pages cost.

The server is a process of its own (`bench.page_server`) with the real record cache and HTTP server, and with a host
that answers from memory. The measured processor time is that of this process. Run it on a machine with nothing else to
do: `python -m bench.pages --pages 500 --seconds 60`.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import aiohttp

from bench.command import add_json, between, report
from bench.errors import BenchError
from bench.figures import Figures, format_ms

_WARM_UP = 20  # pages before the measured ones: templates are compiled at their first use
_SAMPLES = 100
_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Phase:
    """`share` is the processor time of the server per second; `renewed` how many pages were fetched."""

    name: str
    seconds: float
    share: float
    renewed: int
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Result:
    """`page_cpu_ms` is the processor time of the server for one page, which a busy machine changes little."""

    jobs: int
    pages: int
    page: Figures
    page_cpu_ms: float
    page_bytes: int
    phases: tuple[Phase, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.pages", description=__doc__)
    parser.add_argument("--jobs", type=between(int, 1, 10_000), default=1000, help="live jobs (1000)")
    parser.add_argument("--users", type=between(int, 1, 1000), default=50, help="users, who share jobs and pages (50)")
    parser.add_argument("--pages", type=between(int, 1, 1000), default=500, help="open pages (500)")
    parser.add_argument("--seconds", type=between(float, 1, 3600), default=60, help="length of each phase (60)")
    parser.add_argument(
        "--changes", type=between(int, 0, 600), default=60, help="changed records a minute in the second phase (60)"
    )
    add_json(parser)
    given = parser.parse_args(arguments)
    try:
        result = asyncio.run(_measure(given))
    except BenchError as error:
        sys.stderr.write(f"pages: {error}\n")
        return 2
    return report(result, show=_show, to_json=asdict, file=given.json, is_whole=True)


async def _measure(given: argparse.Namespace) -> Result:
    command = ("-m", "bench.page_server", "--jobs", str(given.jobs), "--users", str(given.users))
    server = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE)
    try:
        assert server.stdout is not None
        port = (await server.stdout.readline()).decode().strip()
        if not port:
            raise BenchError("the server did not start")
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as client:
            return await _measure_pages(given, server, client)
    finally:
        if server.stdin is not None:
            server.stdin.close()
        await server.wait()


async def _measure_pages(given: argparse.Namespace, server: Process, client: aiohttp.ClientSession) -> Result:
    cookies = [await _sign_in(client, f"user{number}") for number in range(given.users)]
    owned = [(number, cookies[number % given.users]) for number in range(1, given.jobs + 1)]
    await _fetch_pages(client, owned, _WARM_UP)
    used_s = _read_cpu_s(server.pid)
    times, size = await _fetch_pages(client, owned, _SAMPLES)
    page_cpu_ms = round(1000 * (_read_cpu_s(server.pid) - used_s) / _SAMPLES, 1)
    pages = [_Page(client, *owned[index % len(owned)]) for index in range(given.pages)]
    tasks = [asyncio.create_task(page.follow()) for page in pages]
    try:
        await asyncio.gather(*(page.opened.wait() for page in pages))
        phases = [await _run_phase("nothing changes", server, pages, seconds=given.seconds, changes=0)]
        if given.changes:
            name = f"{given.changes} changes a minute"
            phases.append(await _run_phase(name, server, pages, seconds=given.seconds, changes=given.changes))
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if ended:
        raise BenchError(f"{len(ended)} of {len(tasks)} pages ended early, the first with {ended[0].exception()!r}")
    return Result(given.jobs, given.pages, Figures.of(times), page_cpu_ms, size, tuple(phases))


async def _sign_in(client: aiohttp.ClientSession, user: str) -> dict[str, str]:
    """The cookies of that user."""
    jar = aiohttp.CookieJar(unsafe=True)  # the address is a number
    async with aiohttp.ClientSession(client._base_url, cookie_jar=jar) as own:
        async with own.get("/ui/sign-in") as page:
            token = _FORM_TOKEN.search(await page.text())
        if token is None:
            raise BenchError("the sign-in page has no form")
        data = {"form_token": token[1], "to": "", "username": user, "apikey": f"key-{user}"}
        async with own.post("/ui/sign-in/key", data=data, allow_redirects=False) as entered:
            if entered.status != 303:
                raise BenchError(f"the sign-in of {user} was answered with {entered.status}")
            return {name: cookie.value for name, cookie in entered.cookies.items()}


async def _fetch_pages(
    client: aiohttp.ClientSession, owned: Sequence[tuple[int, dict[str, str]]], count: int
) -> tuple[list[float], int]:
    """Times of pages in ms, fetched one after another, and the size of the last."""
    times, size = [], 0
    for index in range(count):
        number, cookies = owned[index * 7 % len(owned)]
        began = time.perf_counter()
        size = await _fetch(client, number, cookies)
        times.append(1000 * (time.perf_counter() - began))
    return times, size


async def _fetch(client: aiohttp.ClientSession, number: int, cookies: dict[str, str]) -> int:
    async with client.get(f"/ui/jobs/{number}", headers=_cookie(cookies), allow_redirects=False) as page:
        if page.status != 200:
            raise BenchError(f"the page of job {number} was answered with {page.status}")
        return len(await page.read())


def _cookie(cookies: dict[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


class _Page:
    """An open page: it listens, and fetches itself again when its job has changed, as the script does."""

    def __init__(self, client: aiohttp.ClientSession, number: int, cookies: dict[str, str]) -> None:
        self._client, self._number, self._cookies = client, number, cookies
        self.opened = asyncio.Event()
        self.renewed = 0

    async def follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        path = f"/ui/jobs/{self._number}/live"
        async with self._client.get(path, headers=_cookie(self._cookies), timeout=timeout) as stream:
            if stream.status != 200:
                raise BenchError(f"the stream of job {self._number} was answered with {stream.status}")
            async for line in stream.content:
                self.opened.set()
                if line.startswith(b"event: changed"):
                    await _fetch(self._client, self._number, self._cookies)
                    self.renewed += 1


async def _run_phase(name: str, server: Process, pages: Sequence[_Page], *, seconds: float, changes: int) -> Phase:
    renewed, began = sum(page.renewed for page in pages), time.monotonic()
    used_s = _read_cpu_s(server.pid)
    sent = 0
    while (passed_s := time.monotonic() - began) < seconds:
        due = int(passed_s * changes / 60)
        if due > sent and server.stdin is not None:
            server.stdin.write(f"{due - sent}\n".encode())
            await server.stdin.drain()
            sent = due
        await asyncio.sleep(0.2)
    return Phase(
        name,
        round(passed_s, 1),
        round((_read_cpu_s(server.pid) - used_s) / passed_s, 4),
        sum(page.renewed for page in pages) - renewed,
        round(_read_memory_mib(server.pid), 1),
    )


def _read_cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - one line of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_memory_mib(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - one line of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _show(result: Result) -> None:
    page = result.page
    print(
        f"a job's page at {result.jobs} live jobs: median {format_ms(page.median_ms)}, p99 {format_ms(page.p99_ms)}, "
        f"processor {format_ms(result.page_cpu_ms)}, "
        f"{result.page_bytes} bytes"
    )
    for phase in result.phases:
        print(
            f"{result.pages} open pages, {phase.name}: {100 * phase.share:.1f} % of a core, {phase.renewed} renewals "
            f"in {phase.seconds} s, {phase.memory_mib} MiB"
        )


if __name__ == "__main__":
    sys.exit(main())
