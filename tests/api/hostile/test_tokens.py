"""Bearer tokens that prove nothing: wrong algorithm, key, audience, time or user."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from tests.api.hostile.served import Row, Served, get, post
from tests.builders import a_submission
from tests.tokens import a_key, a_token, claims, forged, public_pem, since_now

pytestmark = pytest.mark.proves(
    "main",
    "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show",
)

DAY_S = 86400  # tokens are made at import and used later


def lasting(*, key: int = 0, **changes: Any) -> str:
    return a_token(key=key, **{"exp": since_now(DAY_S), **changes})


def valid() -> dict[str, Any]:
    return claims(exp=since_now(DAY_S))


def lasting_forgery(algorithm: str, *, secret: bytes | None = None) -> str:
    return forged(algorithm, secret=secret, exp=since_now(DAY_S))


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: bytes, **headers: Any) -> str:
    """Any bytes under the realm's signature."""
    return jwt.api_jws.encode(payload, a_key(), algorithm="RS256", headers=headers)


def headed(head: bytes) -> str:
    """A token with any head."""
    return f"{encoded(head)}.{encoded(json.dumps(valid()).encode())}.{encoded(b'x' * 256)}"


def cut(token: str, *, part: int) -> str:
    return ".".join(piece[:-4] if number == part else piece for number, piece in enumerate(token.split(".")))


EC_KEY = generate_private_key(SECP256R1())
OWN_KEY = {"kty": "RSA", "kid": "own", **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(a_key(1).public_key()))}
PEM = public_pem().encode()
GOOD = lasting()
TOKENS = {
    "unsigned": lasting_forgery("none"),
    "unsigned in another spelling": lasting_forgery("NoNe"),
    "without an algorithm": lasting_forgery(""),
    "HS256 with the public key for a secret": lasting_forgery("HS256", secret=PEM),
    "HS256 with the public key's stripped text": lasting_forgery("HS256", secret=PEM.strip()),
    "HS256 with nothing for a secret": lasting_forgery("HS256", secret=b""),
    "RS256 by name, but signed by HMAC": lasting_forgery("RS256", secret=PEM),
    "RS384 by the right key": jwt.encode(valid(), a_key(), algorithm="RS384"),
    "RS512 by the right key": jwt.encode(valid(), a_key(), algorithm="RS512"),
    "PS256 by the right key": jwt.encode(valid(), a_key(), algorithm="PS256"),
    "ES256 by an own key": jwt.encode(valid(), EC_KEY, algorithm="ES256"),
    "another realm's": lasting(key=1),
    "its signature cut": cut(GOOD, part=2),
    "its claims cut": cut(GOOD, part=1),
    "another's claims under a good signature": ".".join(
        [GOOD.split(".")[0], lasting(preferred_username="admin1").split(".")[1], GOOD.split(".")[2]]),
    "a key id that is a file": jwt.encode(valid(), a_key(1), algorithm="RS256", headers={"kid": "../../dev/null"}),
    "a key id that is a query": jwt.encode(valid(), a_key(1), algorithm="RS256", headers={"kid": "x' OR '1'='1"}),
    "a key id that is a number": headed(b'{"alg": "RS256", "kid": 7}'),
    "a URL of its key": jwt.encode(
        valid(), a_key(1), algorithm="RS256", headers={"jku": "http://127.0.0.1:9/keys", "kid": "own"}),
    "a URL of its certificate": jwt.encode(
        valid(), a_key(1), algorithm="RS256", headers={"x5u": "http://127.0.0.1:9/cert.pem"}),
    "its own key with it": jwt.encode(valid(), a_key(1), algorithm="RS256", headers={"jwk": OWN_KEY}),
    "an unknown critical extension": signed(
        json.dumps(valid()).encode(), crit=["policy"], policy="none"),
    "claims that are not encoded": signed(json.dumps(valid()).encode()).replace(".", "..", 1),
    "a head of ten thousand levels": headed(b"[" * 9_000),
    "a head that is a list": headed(b"[]"),
    "a head with a number without end": headed(b'{"alg": ' + b"9" * 5_000 + b"}"),
    "an algorithm that is an object": headed(b'{"alg": {"a": 1}}'),
    "ten thousand bytes": "eyJ" + "A" * 10_000,
    "dots": "...",
    "five parts, encrypted": ".".join(["eyJhbGciOiJkaXIifQ", "", "AA", "AA", "AA"]),
    "claims that are a list": signed(b"[1]"),
    "claims of ten thousand levels": signed(b"[" * 9_000),
    "over, beyond the leeway": lasting(exp=since_now(-60)),
    "without an end": lasting(exp=None),
    "an end that is a word": lasting(exp="tomorrow"),
    "an end beyond all numbers": signed(b'{"preferred_username": "user1", "exp": 1e999}'),
    "not yet begun": lasting(nbf=since_now(DAY_S / 2)),
    "for another audience": lasting(aud="account"),
    "for many others": lasting(aud=["account", "jarvice2"]),
    "for no audience": lasting(aud=[]),
    "for an audience like ours": lasting(aud="jarvice.example.org"),
    "of a user who is not in the catalogue": lasting(preferred_username="nobody"),
    "of a user in another case": lasting(preferred_username="USER1"),
    "of a user with a line break": lasting(preferred_username="user1\n"),
    "of a user with a NUL": lasting(preferred_username="user1\0"),
    "of no user": lasting(preferred_username=None),
    "of an empty user": lasting(preferred_username=""),
    "of a user who is a list": lasting(preferred_username=["user1"]),
    "of a user who is an object": lasting(preferred_username={"$ne": ""}),
    "of a user who is true": lasting(preferred_username=True),
    "of a user elsewhere in the claims": lasting(preferred_username=None, sub="user1", username="user1"),
    "of an inactive account": lasting(preferred_username="idle1"),
}  # fmt: skip
HEADERS = [
    Row("a token and a second one", get("/jarvice/jobs", f"Authorization: Bearer {GOOD}", "Authorization: Bearer x"),
        401, "Unauthorized"),
    Row("the same token twice", get("/jarvice/jobs", *[f"Authorization: Bearer {GOOD}"] * 2), 401, "Unauthorized"),
    Row("a token and an empty one", get("/jarvice/jobs", f"Authorization: Bearer {GOOD}", "Authorization: Bearer"),
        401, "Unauthorized"),
    Row("two tokens in one header", get("/jarvice/jobs", f"Authorization: Bearer {GOOD}, Bearer {GOOD}"), 401,
        "Unauthorized"),
    Row("a token under Basic", get("/jarvice/jobs", f"Authorization: Basic {GOOD}"), 400,
        "Required parameter(s) missing"),
    Row("a token without a scheme", get("/jarvice/jobs", f"Authorization: {GOOD}"), 400,
        "Required parameter(s) missing"),
    Row("a token in the query", get(f"/jarvice/jobs?bearer={GOOD}&access_token={GOOD}"), 400,
        "Required parameter(s) missing"),
    Row("a token as an API key", get(f"/jarvice/jobs?username=user1&apikey={GOOD}"), 401, "Unauthorized"),
    Row("another's name beside a token", get("/jarvice/jobs?username=user2", f"Authorization: Bearer {GOOD}"), 401,
        "Unauthorized"),
    Row("another's name in a submission beside a token",
        post("submit", json.dumps(a_submission(user="user2")).encode(), f"Authorization: Bearer {GOOD}"),
        401, "Not Authorized"),
    Row("a good token where administrators only may look",
        get("/jarvice/events?number=7", f"Authorization: Bearer {GOOD}"), 401, "Unauthorized"),
]  # fmt: skip


@pytest.mark.proves(
    "security",
    "a forged, foreign or expired token: `none`, HS256 with the public key, its own key by `kid`, `jwk` or `jku`,"
    " another audience",
)
@pytest.mark.parametrize("sentence", TOKENS)
def test_a_token_that_proves_nothing(served: Served, sentence: str) -> None:
    """Neither alone nor beside a good key, because a token wins."""
    header = f"Authorization: Bearer {TOKENS[sentence]}"
    for target in ("/jarvice/jobs", "/jarvice/apps", "/jarvice/jobs?username=user1&apikey=key-user1"):
        served.assert_refused(Row(sentence, get(target, header), 401, "Unauthorized"))


@pytest.mark.proves("security", "two tokens, or one that a proxy reads differently")
@pytest.mark.parametrize("row", HEADERS, ids=str)
def test_a_token_that_is_carried_wrongly(served: Served, row: Row) -> None:
    served.assert_refused(row)


def test_the_token_that_all_others_are_made_from_is_a_good_one(served: Served) -> None:
    """Otherwise every row above could pass for another reason. A proxy's own credentials do not interfere."""
    for headers in ([f"Authorization: Bearer {GOOD}"], ["Authorization: Basic eDp5", f"Authorization: Bearer {GOOD}"]):
        assert served.ask(get("/jarvice/jobs", *headers)).status == 200
    served.assert_unharmed()
