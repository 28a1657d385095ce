"""Which registry credentials a job gets."""

import base64
import json
from typing import Any

import pytest

from kns.model.catalog.pull_secret import keep_entries, mark_config, merge_pull_config, registry_of


def config(*hosts: str) -> dict[str, Any]:
    return {"auths": {host: {"auth": f"of-{host}"} for host in hosts}}


def encoded(*hosts: str) -> str:
    return base64.b64encode(json.dumps(config(*hosts)).encode()).decode()


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("busybox", "docker.io"),
        ("library/busybox:1", "docker.io"),
        ("localhost/kns-init:1", "localhost"),
        ("localhost:5000/x", "localhost:5000"),
        ("registry.example.org/a/b@sha256:0", "registry.example.org"),
    ],
)
def test_registry_of(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_no_credentials_no_secret() -> None:
    assert merge_pull_config(None, None, images=["a/b"]) is None
    assert merge_pull_config(None, config("other.example.org"), images=["registry.example.org/a"]) is None
    assert merge_pull_config(None, {"auths": "broken"}, images=["a"]) is None


@pytest.mark.proves(
    "objects",
    "Pull credentials are the app's, plus those of the site's for the job's registries "
    "([secrets](decisions/0008-catalogue-secrets.md))",
)
def test_of_the_sites_only_what_the_images_need() -> None:
    """A tenant's pods can use every Secret in the job's namespace."""
    system = config("https://registry.example.org/v2/", "other.example.org", "https://index.docker.io/v1/")
    merged = merge_pull_config(None, system, images=["registry.example.org/a:1", "library/busybox"])
    assert merged is not None
    assert json.loads(merged)["auths"].keys() == {"https://registry.example.org/v2/", "https://index.docker.io/v1/"}


def test_the_apps_own_count_first() -> None:
    app = base64.b64encode(json.dumps({"auths": {"registry.example.org": {"auth": "mine"}}}).encode()).decode()
    merged = merge_pull_config(app, config("registry.example.org"), images=["registry.example.org/a"])
    assert merged is not None
    assert json.loads(merged) == {"auths": {"registry.example.org": {"auth": "mine"}}}


def test_entries_that_a_source_no_longer_has_are_kept() -> None:
    new = json.dumps({"auths": {"a": {"auth": "new"}}})
    assert json.loads(keep_entries(config("a", "b"), new)) == {"auths": {"a": {"auth": "new"}, "b": {"auth": "of-b"}}}
    assert json.loads(keep_entries(None, new)) == json.loads(keep_entries({"auths": 1}, new)) == json.loads(new)


def test_a_mark_tells_documents_and_installations_apart() -> None:
    """It is the same in every process, and too short to contain the document."""
    one = json.dumps(config("a"))
    assert mark_config(one, salt="uid-1") == "b2380a9db2b09261"
    assert (
        len({mark_config(one, salt="uid-1"), mark_config(one, salt="uid-2"), mark_config(one + " ", salt="uid-1")}) == 3
    )
