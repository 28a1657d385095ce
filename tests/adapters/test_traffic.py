"""The requests of jobs in the metrics of ingress controllers, and answers that are no such metrics."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kns.adapters import traffic
from kns.adapters.clock import SystemClock
from kns.adapters.traffic import ScrapedTraffic
from kns.model.errors import UnavailableError
from tests.fakes.stores import FakeClock

_REQUESTS = 'traefik_service_requests_total{{code="{}",method="GET",protocol="http",service="{}"}} {}'
TRAEFIK = "\n".join(
    (
        "# HELP traefik_service_requests_total How many HTTP requests processed on a service.",
        "# TYPE traefik_service_requests_total counter",
        _REQUESTS.format(200, "kns-job-7-kns-target-80@kubernetes", 12),
        _REQUESTS.format(404, "kns-job-7-kns-target-80@kubernetes", 3),
        _REQUESTS.format(200, "kns-job-7-kns-shell-80@kubernetes", 1),
        _REQUESTS.format(503, "kns-job-7-kns-wake-80@kubernetes", 99),
        _REQUESTS.format(200, "kns-job-8-kns-target-http-80@kubernetesgateway", 5),
        _REQUESTS.format(200, "other-kns-job-9-kns-target-80@kubernetes", 5),
        'traefik_service_request_duration_seconds_bucket{service="kns-job-7-kns-target-80@kubernetes",le="0.1"} 5',
        "process_open_fds 9\n",
    )
).encode()
_NGINX = 'nginx_ingress_controller_requests{{namespace="{0}",ingress="{0}",service="{1}",status="200"}} {2}'
NGINX = "\n".join(
    (
        "# TYPE nginx_ingress_controller_requests counter",
        _NGINX.format("kns-job-7", "kns-target", 4),
        _NGINX.format("kns-job-7", "kns-wake", 9),
        _NGINX.format("shop", "kns-target", 9),
        _NGINX.format("kns-job-8", "kns-target", "NaN\n"),
    )
).encode()


@contextmanager
def served(*answers: bytes | Callable[[BaseHTTPRequestHandler], None]) -> Iterator[list[str]]:
    """A server for each answer, and their URLs."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _build_handler(answer)) for answer in answers]
    threads = [threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01}) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield [f"http://127.0.0.1:{each.server_address[1]}/metrics" for each in servers]
    finally:
        for each, thread in zip(servers, threads, strict=True):
            each.shutdown()
            each.server_close()
            thread.join()


def _build_handler(answer: bytes | Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not isinstance(answer, bytes):
                answer(self)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _count(*answers: bytes | Callable[[BaseHTTPRequestHandler], None]) -> dict[str, float]:
    with served(*answers) as urls:
        return dict(ScrapedTraffic(urls, clock=SystemClock()).count_requests())


def test_traefik() -> None:
    assert _count(TRAEFIK) == {"kns-job-7": 16, "kns-job-8": 5}


def test_ingress_nginx() -> None:
    assert _count(NGINX) == {"kns-job-7": 4}


def test_several_replicas_are_added_up() -> None:
    assert _count(TRAEFIK, NGINX, TRAEFIK) == {"kns-job-7": 36, "kns-job-8": 10}


def test_no_job_had_a_request_yet() -> None:
    assert _count(b"process_open_fds 9\n") == {}


def test_the_last_line_needs_no_end() -> None:
    assert _count(TRAEFIK.partition(b"process_open")[0].rstrip()) == {"kns-job-7": 16, "kns-job-8": 5}


def _fail(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(500)


def _redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://169.254.169.254/")
    handler.end_headers()


def _cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(TRAEFIK)))
    handler.end_headers()
    handler.wfile.write(TRAEFIK[:400])
    handler.close_connection = True


def _send_much(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"# " + b"x" * 50_000 + b"\n")


@pytest.mark.parametrize(
    "answer",
    [_fail, _redirect, _cut_off, b'traefik_service_requests_total{service="kns-job-7-kns-target-80@k"} many\n'],
    ids=["error", "redirect", "cut off", "no number"],
)
def test_an_answer_that_is_not_whole_means_unknown(
    answer: bytes | Callable[[BaseHTTPRequestHandler], None],
) -> None:
    """One replica that fails is enough: the requests that it had are not known."""
    with pytest.raises(UnavailableError, match="GET http://127"):
        _count(TRAEFIK, answer)


def test_nobody_listens() -> None:
    with served(TRAEFIK) as urls:
        pass
    with pytest.raises(UnavailableError):
        ScrapedTraffic(urls, clock=SystemClock()).count_requests()


def test_an_answer_is_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_BYTES", 1_000_000)

    def send(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):  # the client leaves, as it should
            _send_much(handler)

    with pytest.raises(UnavailableError, match="more than 1000000 bytes"):
        _count(send)


def test_an_answer_is_bounded_in_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_SERIES", 6)
    assert _count(TRAEFIK) == {"kns-job-7": 16, "kns-job-8": 5}
    monkeypatch.setattr(traffic, "MOST_SERIES", 5)
    with pytest.raises(UnavailableError, match="or 5 series"):
        _count(TRAEFIK)


def test_an_answer_is_bounded_in_time() -> None:
    class Hasty(FakeClock):
        def monotonic(self) -> float:
            self.advance(traffic.TOTAL_S + 1)
            return super().monotonic()

    with served(TRAEFIK) as urls, pytest.raises(UnavailableError, match="no complete answer within 10 s"):
        ScrapedTraffic(urls, clock=Hasty()).count_requests()


def test_a_long_line_is_no_series() -> None:
    """However it is split between two parts of the answer."""
    line = b'traefik_service_requests_total{code="' + b"x" * 400_000 + b'",service="kns-job-9-kns-target-80@k"} 5\n'
    assert _count(line + TRAEFIK) == {"kns-job-7": 16, "kns-job-8": 5}
