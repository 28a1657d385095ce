"""Which claims of a token are read, for any values that a realm maps into them."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kns.model.errors import TokenError
from kns.model.submit.token_claims import read_claims

OURS = {"preferred_username": "u", "azp": "jarvice"}


@pytest.mark.parametrize(
    ("value", "code"),
    [(42, 42), ("42", 42), (-1, -1), (0, 0), ("", 0), ("4.2", 0), (4.2, 0), (True, 0), (None, 0), ([42], 0),
     ("\u0667", 0), (10**30, 0), ("9" * 5000, 0), (10**17, 10**17)],
)  # fmt: skip
def test_a_billing_code_is_an_integer_or_none(value: Any, code: int) -> None:
    assert read_claims({**OURS, "jarvice_billing_code": value}).billing_code == code


@pytest.mark.parametrize(("value", "payer"), [("p", "p"), ("", None), (None, None), (7, None), (["p"], None)])
def test_a_payer_is_a_name_or_none(value: Any, payer: str | None) -> None:
    assert read_claims({**OURS, "jarvice_payer": value}).payer == payer


@pytest.mark.proves(
    "callers", "A token with an audience must be for `jarvice`; a token without one must come from an accepted client"
)
@pytest.mark.parametrize("audience", [None, 7, True, {}, {"jarvice": 1}, "", "Jarvice", "jarvice2", ["x", ["jarvice"]]])
def test_an_audience_that_is_there_must_be_ours(audience: Any) -> None:
    with pytest.raises(TokenError, match="aud"):
        read_claims({**OURS, "aud": audience})


@pytest.mark.parametrize(
    "claims",
    [
        {"azp": "portal"},
        {"azp": None},
        {"azp": ["jarvice"]},
        {"azp": "kns-job-7"},
        {"azp": "kns-job-7", "aud": "jarvice"},
        {"azp": "kns-job-7", "aud": ["jarvice", "account"]},
    ],
)
def test_a_token_of_another_client_is_refused(claims: dict[str, Any]) -> None:
    """The app of a job gets tokens of its users. None of them may open kns."""
    with pytest.raises(TokenError):
        read_claims({**OURS, **claims}, clients=("jarvice", "kns-job-7"))


@pytest.mark.parametrize(
    "claims", [{"azp": "cli"}, {"azp": "portal", "aud": "jarvice"}, {"azp": None, "aud": ["jarvice"]}]
)
def test_an_accepted_client_or_the_audience_is_enough(claims: dict[str, Any]) -> None:
    assert read_claims({**OURS, **claims}, clients=("jarvice", "cli")).username == "u"


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=2)
KEYS = st.sampled_from(["preferred_username", "email", "jarvice_payer", "jarvice_billing_code", "aud", "azp"])


@given(st.sampled_from([{}, OURS]), st.dictionaries(KEYS, VALUES, max_size=3))
@example(OURS, {})
def test_any_claims_are_read_or_refused(whole: dict[str, Any], data: dict[str, Any]) -> None:
    try:
        claims = read_claims({**whole, **data})
    except TokenError:
        return
    assert claims.username
