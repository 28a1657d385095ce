"""What the process keeps of jobs' clusters, whose users may write anything into them."""

import gc
import weakref
from typing import Any, cast

from kns.launcher.nested.known import KnownJobs
from kns.launcher.nested.site import KnsSite
from kns.plain import names

RECORD = {"metadata": {"name": "x", "annotations": {names.NESTED: "7"}}}


class Stored(dict[str, Any]):
    """Can be referred to weakly."""


class Site:
    """Implements what is used of `KnsSite`, and of the client that it returns."""

    def __init__(self) -> None:
        self.pods: list[Stored] = []

    def connect(self, number: int) -> "Site":
        assert number == 7
        return self

    def request(self, method: str, path: str, **_: object) -> dict[str, Any]:
        assert (method, path) == ("GET", "/api/v1/namespaces/default/pods")
        return {"items": self.pods}


def test_pods_that_were_seen_once_do_not_stay_in_memory() -> None:
    """An administrator inside may make other pods before each look."""
    site = Site()
    known = KnownJobs(cast(KnsSite, site)).connect(RECORD)
    site.pods = [Stored(metadata={"name": "x-1", "namespace": "default", "resourceVersion": "1"})]
    seen = weakref.ref(site.pods[0])
    assert [pod["metadata"]["name"] for pod in known.inner.read_pods("x")] == ["x-1"]
    site.pods = []
    gc.collect()
    assert seen() is None
