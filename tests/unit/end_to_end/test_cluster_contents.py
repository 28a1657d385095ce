"""The comparison of two virtual clusters, which tests/e2e makes: what it must see, and what it must not."""

from typing import Any

import pytest

from tests.e2e.contents import MOST_SHOWN, Contents, describe_difference, reduce_objects


def an_object(number: int = 7, **changes: Any) -> dict[str, Any]:
    """As two clusters have it, whose job has this number."""
    return {
        "kind": "ConfigMap",
        "metadata": {
            "name": f"of-kns-job-{number}",
            "namespace": "default",
            "uid": f"{number:08x}-1111-2222-3333-444444444444",
            "resourceVersion": str(number),
            "creationTimestamp": f"2026-11-28T12:00:{number:02}Z",
            "managedFields": [{"time": str(number)}],
            "labels": {"app": "web"},
            "ownerReferences": [{"name": "x", "uid": f"{number:08x}-1111-2222-3333-555555555555"}],
        },
        "data": {
            "KNS_JOB_NUMBER": str(number),
            "KNS_JOB_NAME": f"2026-{number}-hello",
            "url": f"https://kns-job-{number}.jobs.example.org/",
            "ca.crt": f"-----BEGIN CERTIFICATE-----\nMIIB{number}\n-----END CERTIFICATE-----\n",
            "at": f"10.96.0.{number}:443, since 2026-11-{number:02}",
            "plan": f"{number:064x}",
        },
        "status": {"seen": number},
        **changes,
    }


def reduced(obj: dict[str, Any], number: int = 7) -> Contents:
    return reduce_objects([obj], number=number, name=f"2026-{number}-hello")


def test_what_differs_between_any_two_clusters_is_no_difference() -> None:
    assert describe_difference(reduced(an_object(7), 7), reduced(an_object(12), 12)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Service"},
        {"data": {"x": "y"}},
        {"rules": [{"verbs": ["*"]}]},
        {"data": {**an_object()["data"], "image": "web@sha256:" + "0" * 64}},
        {"metadata": {**an_object()["metadata"], "labels": {"app": "other"}}},
        {"metadata": {**an_object()["metadata"], "ownerReferences": []}},
        {"metadata": {**an_object()["metadata"], "namespace": "kube-system"}},
    ],
    ids=["kind", "data", "rules", "image", "label", "owner", "namespace"],
)
def test_everything_else_is_one(changes: dict[str, Any]) -> None:
    assert describe_difference(reduced(an_object()), reduced(an_object(**changes))) != []


def test_the_keys_of_secrets_are_compared_and_not_their_values() -> None:
    def a_secret(**data: str) -> Contents:
        return reduced({"kind": "Secret", "metadata": {"name": "s"}, "data": data})

    assert a_secret(a="1") == a_secret(a="2") != a_secret(b="1")


def test_a_difference_is_short() -> None:
    many = [an_object(data={str(line): "x" for line in range(1000)})]
    assert len(describe_difference({}, reduce_objects(many, number=7, name="n"))) == MOST_SHOWN
