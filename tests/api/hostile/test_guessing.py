"""A guesser learns nothing: not which users exist, not who owns a job, not whether the last guess was right."""

import base64
import hmac
import json
from collections.abc import Iterator
from io import StringIO

import pytest

from kns.model.catalog import account
from tests.api.client import Api
from tests.api.hostile.served import Answer, Served, get, post, serve
from tests.api.test_credentials import JOB_ROUTES
from tests.builders import JobBuilder, a_job, a_submission

pytestmark = pytest.mark.proves(
    "main",
    "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show",
)

KEYS = "username=user1&apikey=key-user1"


@pytest.fixture
def strict() -> Iterator[Served]:
    """With the default limit on failed logins. It does not trust 127.0.0.1 as a proxy."""
    with serve(Api(server_key="up:secret"), trusted_proxies="192.0.2.1") as served:
        yield served


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Everything that a caller sees, without the Date header."""
    return answer.status, {key: value for key, value in answer.headers.items() if key != "date"}, answer.body


def log_in(served: Served, user: str, key: str, *headers: str) -> Answer:
    return served.ask(get(f"/jarvice/jobs?username={user}&apikey={key}", *headers))


@pytest.mark.proves("security", "find out who has an account, by answer or timing")
@pytest.mark.parametrize("user", ["nobody", "User1", "user1%20", "user1%00", "idle1", "admin1", "x" * 5000])
def test_an_unknown_user_and_a_wrong_key_are_told_the_same(served: Served, user: str) -> None:
    assert told(log_in(served, user, "wrong-key")) == told(log_in(served, "user1", "wrong-key"))
    bodies = [
        json.dumps({**a_submission(), "user": {"username": name, "apikey": "wrong-key"}}) for name in (user, "user1")
    ]
    unknown, wrong = (told(served.ask(post("submit", body.encode()))) for body in bodies)
    assert unknown == wrong
    assert unknown[0] == 401
    served.assert_unharmed()


@pytest.mark.proves("security", "find out who has an account, by answer or timing")
@pytest.mark.parametrize("user", ["user1", "nobody", "idle1", "admin1", ""])
def test_an_unknown_user_costs_the_same_work_as_a_wrong_key(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """One hash of the given key, and one comparison of the whole hash in constant time."""
    work: list[str] = []
    hash_key, compare = account.hash_key, hmac.compare_digest

    def count_hash(apikey: str) -> str:
        work.append(f"hash {apikey}")
        return hash_key(apikey)

    def count_comparison(left: str, right: str) -> bool:
        work.append(f"compare {len(left)} with {len(right)}")
        return compare(left, right)

    monkeypatch.setattr(account, "hash_key", count_hash)
    catalog = Api().catalog.current()
    monkeypatch.setattr(hmac, "compare_digest", count_comparison)
    work.clear()
    assert catalog.find_user(user, "wrong-key") is None
    assert work == ["hash wrong-key", "compare 64 with 64"]


@pytest.mark.proves("security", "find out which jobs there are")
@pytest.mark.parametrize("route", JOB_ROUTES)
@pytest.mark.parametrize("state", [a_job(), a_job().started(), a_job().exposed(), a_job().exposed().ended()])
def test_anothers_job_and_an_unknown_one_are_told_the_same(served: Served, route: str, state: JobBuilder) -> None:
    """By number, by name and by both, in any state."""
    served.api.jobs.add(state.numbered(8).owned_by("user3", payer="user3").build())
    served.api.jobs.writes.clear()
    name = "20260105141530-00008-hello-user3_s1"
    pairs = [("number=8", "number=99"), (f"name={name}", "name=none"), (f"number=8&name={name}", "number=99&name=none")]
    for theirs, unknown in pairs:
        answers = [told(served.ask(get(f"/jarvice/{route}?{KEYS}&action=x&{job}"))) for job in (theirs, unknown)]
        assert answers[0] == answers[1]
        assert answers[0][0] in (401, 404)
    served.assert_unharmed()


@pytest.mark.proves("security", "guess keys")
def test_the_eleventh_guess_in_a_minute_is_not_looked_at(strict: Served) -> None:
    statuses = [log_in(strict, "user1", f"wrong-key-{guess}").status for guess in range(11)]
    assert statuses == [401] * 10 + [429]
    right = log_in(strict, "user1", "key-user1")
    assert (right.status, right.headers["retry-after"]) == (429, "60")
    assert right.headers["content-type"] == "application/json"
    assert log_in(strict, "user2", "key-user2").status == 200
    strict.api.clock.advance(60)
    assert log_in(strict, "user1", "key-user1").status == 200


@pytest.mark.proves("security", "forge an address to evade that limit")
def test_an_address_that_a_client_made_up_does_not_get_it_around_the_limit(strict: Served) -> None:
    spoofs = [
        [f"X-Forwarded-For: 198.51.100.{guess}", f"X-Real-IP: 198.51.100.{guess}", f"Forwarded: for=198.51.100.{guess}"]
        for guess in range(11)
    ]
    assert [log_in(strict, "user1", "wrong-key", *spoof).status for spoof in spoofs] == [401] * 10 + [429]


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(observed: StringIO) -> None:
    """It appends to what the client sent. A line break cannot reach the log, because a header cannot contain one."""
    with serve(Api()) as served:
        statuses = [
            log_in(served, "user1", "wrong-key", f"X-Forwarded-For: 10.0.0.{guess}\x1b[2J, 203.0.113.9").status
            for guess in range(11)
        ]
        assert statuses == [401] * 10 + [429]
        other = "X-Forwarded-For: 203.0.113.9, 203.0.113.10"
        assert log_in(served, "user1", "key-user1", other).status == 200
    blocked = [json.loads(line) for line in observed.getvalue().splitlines() if "logins_blocked" in line]
    assert [(line["user"], line["address"]) for line in blocked] == [("user1", "203.0.113.9")]


@pytest.mark.proves("security", "line breaks or control bytes in a label, name or address, to forge log lines")
def test_the_address_and_the_name_of_one_who_guesses_are_safe_to_log(observed: StringIO) -> None:
    with serve(Api()) as served:
        for _ in range(10):
            log_in(served, "x%0a%1b%5b2J" + "y" * 500, "wrong-key", "X-Forwarded-For: " + "\x1b[2J" * 50)
        served.log = observed
        served.assert_unharmed()
    (blocked,) = [json.loads(line) for line in observed.getvalue().splitlines() if "logins_blocked" in line]
    assert max(len(blocked["user"]), len(blocked["address"])) == 100


def test_the_key_of_the_upstream_protocol_cannot_be_guessed_without_limit(strict: Served) -> None:
    def knock(credentials: str) -> Answer:
        return strict.ask(get("/gc", f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"))

    assert [knock(f"up:{guess}").status for guess in range(11)] == [401] * 10 + [429]
    right = knock("up:secret")
    assert (right.status, right.headers["retry-after"]) == (429, "60")
    assert log_in(strict, "up", "x").status == 401  # the two limits are independent
    strict.api.clock.advance(60)
    assert {knock("up:secret").status for _ in range(20)} == {200}
