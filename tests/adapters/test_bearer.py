"""Tokens of the realm: which ones are accepted, and that no error contains a part of a token."""

from collections.abc import Callable

import pytest

from kns.adapters.bearer import RealmTokens
from kns.model.errors import TokenError
from kns.model.submit.token_claims import TokenClaims
from tests.tokens import a_token, forged, public_pem, since_now


@pytest.fixture
def tokens() -> RealmTokens:
    return RealmTokens(public_pem())


def test_a_good_token_says_who_bears_it(tokens: RealmTokens) -> None:
    token = a_token(email="a@example.org", jarvice_payer="payer9", jarvice_billing_code=42, aud=["account", "jarvice"])
    assert tokens.verify(token) == TokenClaims("user1", email="a@example.org", payer="payer9", billing_code=42)


GOOD: dict[str, Callable[[], str]] = {
    "ended 5 s ago": lambda: a_token(exp=since_now(-5)),
    "begins in 5 s": lambda: a_token(nbf=since_now(5)),
    "made in 5 s": lambda: a_token(iat=since_now(5)),
    "made in 100 s": lambda: a_token(iat=since_now(100)),
    "made at no time": lambda: a_token(iat="soon"),
    "of a subject that is a number": lambda: a_token(sub=7),
    "numbered by a number": lambda: a_token(jti=7),
    "for us alone": lambda: a_token(aud="jarvice"),
    "for nobody in particular": a_token,
}


@pytest.mark.proves(
    "callers", "A token with an audience must be for `jarvice`; a token without one must come from an accepted client"
)
@pytest.mark.parametrize("sentence", GOOD)
def test_a_token_is_believed_that_is(tokens: RealmTokens, sentence: str) -> None:
    """Clocks may differ by half a minute."""
    assert tokens.verify(GOOD[sentence]()).username == "user1"


BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "a word": lambda: "token",
    "three words": lambda: "a.b.c",
    "not ASCII": lambda: "\u00fc.\u00fc.\u00fc",
    "two tokens": lambda: f"{a_token()} {a_token()}",
    "unsigned": lambda: forged("none"),
    "unsigned, oddly spelled": lambda: forged("nOnE"),
    "signed with the public key as a secret": lambda: forged("HS256", secret=public_pem().encode()),
    "said to be RS256 and signed by HMAC": lambda: forged("RS256", secret=public_pem().encode()),
    "signed by another realm": lambda: a_token(key=1),
    "changed after it was signed": lambda: ".".join([a_token().split(".")[0], *a_token(sub="x").split(".")[1:]])[:-4],
    "without a signature": lambda: a_token().rpartition(".")[0] + ".",
    "over since a minute": lambda: a_token(exp=since_now(-60)),
    "never over": lambda: a_token(exp=None),
    "over at no time": lambda: a_token(exp="soon"),
    "not yet begun": lambda: a_token(nbf=since_now(90)),
    "for somebody else": lambda: a_token(aud="account"),
    "for several others": lambda: a_token(aud=["account", "jarvice2"]),
    "for no one": lambda: a_token(aud=[]),
    "of no user": lambda: a_token(preferred_username=None),
    "of an empty user": lambda: a_token(preferred_username=""),
    "of a user that is a number": lambda: a_token(preferred_username=7),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_token_is_not_believed_that_is(tokens: RealmTokens, sentence: str) -> None:
    token = BAD[sentence]()
    with pytest.raises(TokenError) as caught:
        tokens.verify(token)
    told = str(caught.value)
    assert told
    assert not any(part in told for part in token.split(".") if len(part) > 6)
    assert caught.value.__cause__ is None
