"""The way to a job's own cluster: who may use it, what goes in, what comes out, and what an error looks like."""

import base64
from typing import Any

import httpx
import pytest

from kns import metrics
from kns.http.middleware import SMALL_BODY_BYTES
from kns.model.errors import NotFoundError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.service import lanes
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.fakes.relay import FakeAnswer

PODS = "/kns/cluster/7/api/v1/namespaces/default/pods"
KEY = {"X-API-Username": "user1", "X-API-Key": "key-user1"}


def a_cluster() -> JobBuilder:
    return a_job().condition(ConditionType.VIRTUAL_CLUSTER_READY)


@pytest.fixture
def api() -> Api:
    api = Api()
    api.add(a_cluster())
    return api


def basic(username: str, apikey: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{apikey}".encode()).decode()}


def ask(api: Api, path: str = PODS, *, method: str = "GET", headers: Any = KEY, **options: Any) -> httpx.Response:
    return api.call(method, path, headers=headers, **options)


def assert_status(answer: httpx.Response, code: int, text: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["kind"], body["status"], body["code"]) == (code, "Status", "Failure", code)
    assert text in body["message"]
    assert_safe(answer)


def assert_safe(answer: httpx.Response) -> None:
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert not {"set-cookie", "location", "www-authenticate", "access-control-allow-origin"} & set(headers)


@pytest.mark.parametrize("headers", [KEY, basic("user1", "key-user1"), basic("lead1", "key-lead1")])
def test_credentials_are_headers(api: Api, headers: dict[str, str]) -> None:
    answer = ask(api, headers=headers)
    assert (answer.status_code, answer.content) == (200, b'{"kind":"PodList"}')
    assert_safe(answer)
    (location, request), *_ = api.clusters.seen
    assert (location.number, request.method) == (7, "GET")
    assert request.target == "/api/v1/namespaces/default/pods"
    sent = dict(request.headers)
    assert not {"authorization", "cookie", "x-api-key", "x-api-username", "host"} & set(sent)


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, PODS),
        ({}, f"{PODS}?username=user1&apikey=key-user1"),
        ({"Cookie": "kns_session=abc"}, PODS),
        (basic("user1", "wrong"), PODS),
        ({"Authorization": "Basic !!!"}, PODS),
        ({"Authorization": "Bearer nonsense"}, PODS),
        ([("Authorization", "Bearer a"), ("Authorization", basic("user1", "key-user1")["Authorization"])], PODS),
    ],
)
def test_nothing_else_is_a_credential(api: Api, headers: Any, path: str) -> None:
    assert_status(ask(api, path, headers=headers), 401, "")
    assert api.clusters.seen == []


@pytest.mark.parametrize(
    "header", [{"Origin": "https://kns.example.org"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Mode": "navigate"}]
)
def test_browsers_are_refused_even_with_credentials(api: Api, header: dict[str, str]) -> None:
    assert_status(ask(api, headers={**KEY, **header}), 403, "browsers")
    assert api.clusters.seen == []


def test_only_listed_headers_go_to_the_cluster(api: Api) -> None:
    headers = {
        **KEY,
        "Accept": "application/json;as=Table",
        "Content-Type": "application/apply-patch+yaml",
        "Impersonate-User": "system:serviceaccount:default:x",
        "Cookie": "kns_session=s3cr3t",
        "X-Forwarded-For": "192.0.2.9",
        "Proxy-Authorization": "Basic x",
        "Connection": "close, x-evil",
        "X-Evil": "1",
    }
    ask(api, PODS + "/a%2Fb?fieldManager=x%20y&apikey=z", method="PATCH", headers=headers, content=b"kind: Pod")
    ((_, request),) = api.clusters.seen
    assert request.target == "/api/v1/namespaces/default/pods/a%2Fb?fieldManager=x%20y&apikey=z"
    assert (request.method, request.body) == ("PATCH", b"kind: Pod")
    assert set(dict(request.headers)) == {"accept", "accept-encoding", "content-type", "impersonate-user", "user-agent"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_bodies_are_bounded(api: Api, method: str) -> None:
    ask(api, method=method, content=b"{}")
    assert api.clusters.seen[0][1].body == b"{}"
    assert_status(ask(api, method=method, content=b"x" * (4 * 1024 * 1024 + 1)), 413, "too large")


HOSTILE = (
    ("content-type", "text/html"),
    ("set-cookie", "kns_session=theirs; Path=/"),
    ("access-control-allow-origin", "*"),
    ("access-control-allow-credentials", "true"),
    ("content-security-policy", "default-src *"),
    ("www-authenticate", 'Basic realm="kns"'),
    ("refresh", "0; url=https://evil.example.org"),
    ("link", "<https://evil.example.org/x.js>; rel=preload"),
    ("service-worker-allowed", "/"),
    ("clear-site-data", '"*"'),
    ("strict-transport-security", "max-age=0"),
    ("transfer-encoding", "chunked"),
    ("connection", "upgrade"),
    ("content-length", "3"),
    ("warning", '299 - "deprecated"'),
)


@pytest.mark.proves(
    "security",
    "act on the live page through an answer to a user's `kubectl`: script, cookies, redirects, a login prompt",
)
def test_an_answer_cannot_act_on_the_page_of_kns(api: Api) -> None:
    api.clusters.answer = FakeAnswer(headers=HOSTILE, body=[b"<script>alert(1)</script>"])
    answer = ask(api)
    assert answer.content == b"<script>alert(1)</script>"
    assert_safe(answer)
    assert set(answer.headers) == {
        *("content-type", "warning", "cache-control", "content-security-policy", "cross-origin-resource-policy"),
        *("referrer-policy", "x-content-type-options"),
    }
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("status", [101, 103, 301, 302, 307, 308, 999])
def test_redirects_and_nonsense_are_not_passed_on(api: Api, status: int) -> None:
    api.clusters.answer = FakeAnswer(status, (("location", "https://evil.example.org"),))
    assert_status(ask(api), 502, "redirect")


def test_errors_of_the_cluster_are_its_own(api: Api) -> None:
    api.clusters.answer = FakeAnswer(404, body=[b'{"kind":"Status","reason":"NotFound"}'])
    answer = ask(api)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


def test_a_broken_answer_does_not_look_complete(api: Api) -> None:
    """The connection ends without the end of the body. The transport of this test sees that as an unfinished answer."""
    api.clusters.answer = FakeAnswer(body=[b"half"], broken=UnavailableError("reset"))
    with pytest.raises(AssertionError):
        ask(api)


@pytest.mark.proves("security", "use the cluster of another's job by `/kns/cluster/`")
@pytest.mark.parametrize(
    ("builder", "as_user", "code", "text"),
    [
        (a_job(), "user1", 410, "does not run at this moment"),
        (a_cluster().resting(Reason.ASLEEP), "user1", 410, "job 7 is asleep; wake it"),
        (a_cluster().started().ended(), "user1", 410, "has ended, and its cluster is removed"),
        (
            a_cluster().started().ended().condition(ConditionType.REMOVED, true=False, reason=Reason.KEPT),
            "user1",
            410,
            "has ended, and its cluster is kept",
        ),
        (a_cluster(), "user2", 410, "no such job"),
    ],
)
def test_jobs_that_are_not_open(builder: JobBuilder, as_user: str, code: int, text: str) -> None:
    api = Api()
    api.add(builder)
    headers = basic(as_user, f"key-{as_user}")
    assert_status(ask(api, headers=headers), code, text)
    assert api.clusters.seen == []


@pytest.mark.parametrize("number", ["8", "x", "-7", "07x", "9" * 40])
def test_unknown_jobs(api: Api, number: str) -> None:
    assert_status(ask(api, f"/kns/cluster/{number}/api/v1"), 410, "no such job")


def test_only_jobs_with_a_web_shell_unless_the_site_opens_all() -> None:
    api = Api(clusters_of_all=False)
    api.add(a_cluster())
    api.add(a_cluster().numbered(8).with_nested(enable_gotty_shell=True))
    assert_status(ask(api), 409, "no web shell")
    assert ask(api, "/kns/cluster/8/api").status_code == 200


@pytest.mark.parametrize(
    ("with_shells", "reason", "code"),
    [
        (False, None, 409),  # its users had no shell, or have it no more
        (False, Reason.SHELL_NOT_ALLOWED, 409),
        (True, Reason.SHELL_WITHOUT_URL, 409),
        (True, Reason.SHELL_STARTING, 200),
        (True, Reason.SHELL_NOT_ALLOWED, 200),  # kns has just been started with shells; the leader has not looked yet
    ],
)
def test_a_job_that_asks_for_a_web_shell_may_have_none(with_shells: bool, reason: Reason | None, code: int) -> None:
    api = Api(clusters_of_all=False, with_shells=with_shells)
    job = a_cluster().with_nested(enable_gotty_shell=True)
    api.add(job if reason is None else job.condition(ConditionType.SHELL_READY, true=False, reason=reason))
    answer = ask(api)
    assert answer.status_code == code
    if code == 409:
        assert_status(answer, code, "job 7 has no web shell")
        assert api.clusters.seen == []


@pytest.mark.parametrize(
    ("fault", "code"), [(NotFoundError("no credentials yet"), 503), (UnavailableError("no answer"), 503)]
)
def test_faults_of_the_cluster(api: Api, fault: Exception, code: int) -> None:
    api.clusters.fault = fault
    assert_status(ask(api), code, str(fault))


@pytest.mark.parametrize("fault", [None, UnavailableError("no answer")], ids=["answered", "failed"])
def test_no_request_is_counted_as_open_after_its_end(
    api: Api, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(metrics, "set_relayed_open", counts.append)
    api.clusters.fault = fault
    ask(api)
    assert counts == [1, 0]


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
@pytest.mark.parametrize(
    ("bound", "user", "number"),
    [("MOST_OF_USER", "user1", 99), ("MOST_OF_JOB", "user2", 7), ("MOST", "user2", 99)],
)
def test_open_requests_are_bounded_and_freed(
    api: Api, monkeypatch: pytest.MonkeyPatch, bound: str, user: str, number: int
) -> None:
    monkeypatch.setattr(lanes, bound, 1)
    access = api.ports.clusters
    assert access is not None
    with access.lanes.enter(user, number):
        refused = ask(api)
    assert_status(refused, 429, "Too many")
    assert refused.headers["retry-after"] == "1"
    assert ask(api).status_code == 200
    assert access.lanes.open == 0


def test_one_user_does_not_hold_the_memory_of_all_bodies(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose user has changed it may answer for hours, and the body is held meanwhile."""
    monkeypatch.setattr(lanes, "MOST_LARGE_OF_USER", 1)
    access = api.ports.clusters
    assert access is not None
    large = b"x" * (SMALL_BODY_BYTES + 1)
    with access.lanes.enter("user1", 99, is_large=True):
        assert_status(ask(api, method="POST", content=large), 429, "Too many")
        assert ask(api, method="POST", content=large[1:]).status_code == 200
    with access.lanes.enter("user2", 99, is_large=True):
        assert ask(api, method="POST", content=large).status_code == 200


def test_other_upgrades_and_methods(api: Api) -> None:
    assert_status(ask(api, headers={**KEY, "Upgrade": "SPDY/3.1", "Connection": "Upgrade"}), 400, "kubectl 1.31")
    assert_status(ask(api, method="OPTIONS"), 405, "")
    assert_status(ask(api, "/kns/cluster/7"), 404, "")


def test_a_path_is_passed_on_as_it_was_encoded_or_not_at_all(api: Api) -> None:
    assert_status(ask(api, "/kns/cluster/%37/api"), 400, "encoded")
    ask(api, "/kns/cluster/7//evil.example.org/")
    assert api.clusters.seen[0][1].target == "//evil.example.org/"


def test_an_inactive_account_is_refused(api: Api) -> None:
    api.add(a_cluster().numbered(8).owned_by("idle1"))
    assert_status(ask(api, "/kns/cluster/8/api/v1", headers=basic("idle1", "key-idle1")), 409, "not active")


@pytest.mark.parametrize("path", ["api", "apis"])
def test_the_first_request_of_kubectl_gets_an_error_that_kubectl_shows(path: str) -> None:
    api = Api()
    api.add(a_cluster().started().ended())
    answer = ask(api, f"/kns/cluster/7/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/plain; charset=utf-8")
    assert answer.text == "kns: job 7 has ended, and its cluster is removed\n"
    assert_safe(answer)
