"""Names for any input: valid for Kubernetes, stable, and different for different inputs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model import names

LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
DNS = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_LABELS = st.from_regex(DNS, fullmatch=True)


@given(st.text(max_size=200))
def test_a_label_value_is_always_valid_and_always_the_same(text: str) -> None:
    value = names.label_value(text)
    assert LABEL.fullmatch(value)
    assert names.label_value(text) == value


@given(st.text(alphabet="ab.-_@/ \u00fc", max_size=80), st.text(alphabet="ab.-_@/ \u00fc", max_size=80))
def test_two_texts_never_share_a_label_value(one: str, two: str) -> None:
    """An alphabet in which most inputs have the same readable part."""
    assert (names.label_value(one) == names.label_value(two)) is (one == two)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("ana", "ana"),
        ("a" * 63, "a" * 63),
        ("Ana_B.c-1", "Ana_B.c-1"),
        ("ana@example.org", "ana-example.org-86b9260a"),
        ("-ana-", "ana-"),
        ("@@@", ""),
        ("a" * 64, "a" * 52 + "-"),
    ],
)
def test_label_values_people_can_read(text: str, value: str) -> None:
    """A valid text stays unchanged; any other keeps its readable part, followed by a hash."""
    assert names.label_value(text).startswith(value)
    assert (names.label_value(text) == text) is (LABEL.fullmatch(text) is not None)


@given(DNS_LABELS, DNS_LABELS, st.integers(1, 10**9))
def test_the_host_name_of_a_copied_object_is_a_dns_label(name: str, namespace: str, number: int) -> None:
    host = names.host_name(name, namespace, names.job_object_name(number))
    assert DNS.fullmatch(host)


@given(DNS_LABELS, DNS_LABELS, DNS_LABELS)
def test_two_services_never_share_a_host_name(name: str, other: str, namespace: str) -> None:
    same = names.host_name(name, namespace, "kns-job-7") == names.host_name(other, namespace, "kns-job-7")
    assert same is (name == other)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.@_-]{0,63}", fullmatch=True), st.text(min_size=1, max_size=253))
def test_a_vaults_class_is_a_dns_label_for_any_user_and_vault(user: str, vault: str) -> None:
    """It is a valid class name and part of a quota's key."""
    storage_class = names.vault_class(user, vault)
    assert DNS.fullmatch(storage_class)
    assert names.vault_class(user, vault) == storage_class


@pytest.mark.parametrize(
    ("user", "vault", "storage_class"),
    [
        ("user1", "data", "user1-data"),
        ("Ana", "My_Data.", "ana-my-data"),
        ("ana@example.org", "data", "ana-example-org-data"),
        ("a", "b" * 61, "a-" + "b" * 61),
    ],
)
def test_vault_classes_people_can_read(user: str, vault: str, storage_class: str) -> None:
    """Contract C.5: lower case, other characters become dashes."""
    assert names.vault_class(user, vault) == storage_class


def test_long_names_of_vaults_stay_apart() -> None:
    one, two = (names.vault_class("user1", "v" * 100 + end) for end in "ab")
    assert one != two


@pytest.mark.parametrize(
    ("name", "may_be"),
    [
        ("kns-job-7", True),
        ("kns-job-70", True),
        ("kns-job-07", False),
        ("kns-job-7-x", False),
        ("kns-job-7\n", False),
        ("kns-system", False),
        ("", False),
    ],
)
def test_a_name_that_a_jobs_namespace_may_have(name: str, may_be: bool) -> None:
    assert names.is_job_object_name(name) is may_be


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_every_number_gives_such_a_name(number: int) -> None:
    assert names.is_job_object_name(names.job_object_name(number))


def test_the_names_beside_a_record() -> None:
    assert (names.record_secret("r"), names.record_output("r")) == ("r-tokens", "r-output")
