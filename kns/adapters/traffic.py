"""
The requests to each job, from the Prometheus metrics of the ingress controllers.

Controllers name a route by its namespace and Service. Of all series only those of the table are parsed: a controller
writes hundreds of others for each route.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError

from kns.model import names
from kns.model.errors import UnavailableError, clip
from kns.ports import Clock

CONNECT_S, READ_S = 3.0, 5.0
TOTAL_S = 10.0  # for one controller; the next scrape is due after fifteen
MOST_BYTES = 64 * 1024 * 1024  # of one answer: a thousand jobs have about 10 MiB, most of it histograms
MOST_SERIES = 100_000  # kept of one answer: a job has about ten, one for each method and status
MOST_LINE_BYTES = 4096  # a longer line is none of the table

_COUNTED = (names.TARGET, names.SHELL)  # not `kns-wake`: a waiting page is no use of the job
# Traefik joins namespace, Service and port with "-", and appends the provider: kns-job-7-kns-target-80@kubernetes. The
# provider of Gateways puts the port's name in between, too.
_TRAEFIK = re.compile(rf"^(kns-job-[1-9][0-9]*)-(?:{'|'.join(_COUNTED)})-[^@]*@")


@dataclass(frozen=True, slots=True)
class _Series:
    """A counter of a controller. `read` returns the job's namespace of a series, None if its route is not a job's."""

    name: str
    read: Callable[[Mapping[str, str]], str | None]


def _read_traefik(labels: Mapping[str, str]) -> str | None:
    found = _TRAEFIK.match(labels.get("service", ""))
    return found[1] if found else None


def _read_nginx(labels: Mapping[str, str]) -> str | None:
    return labels.get("namespace") if labels.get("service") in _COUNTED else None


_TABLE = {
    each.name: each
    for each in (
        _Series("traefik_service_requests_total", _read_traefik),
        _Series("nginx_ingress_controller_requests", _read_nginx),
    )
}
_PREFIXES = tuple(f"{name}{{".encode() for name in _TABLE)


class ScrapedTraffic:
    """Implements `ports.Traffic`."""

    def __init__(self, urls: Sequence[str], *, clock: Clock) -> None:
        self._urls = urls
        self._clock = clock
        timeout = Timeout(connect=CONNECT_S, read=READ_S)
        self._http = PoolManager(num_pools=len(urls) or 1, timeout=timeout, retries=False)

    def count_requests(self) -> Mapping[str, float]:
        total: dict[str, float] = {}
        for url in self._urls:
            for namespace, count in self._scrape(url):
                total[namespace] = total.get(namespace, 0.0) + count
        return total

    def _scrape(self, url: str) -> Iterator[tuple[str, float]]:
        try:
            response = self._http.request("GET", url, preload_content=False, redirect=False)
        except HTTPError as error:
            raise UnavailableError(f"GET {url}: {clip(str(error))}") from error
        try:
            if response.status != 200:
                raise UnavailableError(f"GET {url}: {response.status}")
            kept = self._read(response, url)
        finally:
            response.close()  # the next scrape must not read the rest of an answer that was cut off
        yield from parse_requests(kept, url)

    def _read(self, response: BaseHTTPResponse, url: str) -> list[bytes]:
        """The lines of the table."""
        deadline, size, rest = self._clock.monotonic() + TOTAL_S, 0, b""
        kept: list[bytes] = []
        try:
            for part in response.stream(256 * 1024):
                size += len(part)
                *lines, rest = (rest + part).split(b"\n")
                kept += (line for line in lines if line.startswith(_PREFIXES))
                rest = rest[: MOST_LINE_BYTES + 1]  # what is cut off belongs to a line that is too long to be ours
                if size > MOST_BYTES or len(kept) > MOST_SERIES:
                    raise UnavailableError(f"GET {url}: more than {MOST_BYTES} bytes or {MOST_SERIES} series")
                if self._clock.monotonic() > deadline:
                    raise UnavailableError(f"GET {url}: no complete answer within {TOTAL_S:.0f} s")
        except HTTPError as error:
            raise UnavailableError(f"GET {url}: {clip(str(error))}") from error
        return [*kept, rest] if rest.startswith(_PREFIXES) else kept


def parse_requests(lines: Sequence[bytes], url: str) -> Iterator[tuple[str, float]]:
    """
    Namespace and count of each series of a job.

    Raises:
        UnavailableError: a line is not in the format of Prometheus.
    """
    text = b"\n".join(line for line in lines if len(line) <= MOST_LINE_BYTES).decode("utf-8", "replace") + "\n"
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (ValueError, IndexError, KeyError) as error:
        raise UnavailableError(f"GET {url}: not the text format of Prometheus ({clip(str(error))})") from error
    for sample in samples:
        series = _TABLE.get(sample.name)
        namespace = series.read(sample.labels) if series is not None else None
        if namespace is not None and names.is_job_object_name(namespace) and isfinite(sample.value):
            yield namespace, sample.value
