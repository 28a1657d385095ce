"""The keys of the page's sessions, in one Secret for all replicas."""

import base64
from typing import Any

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.session_keys import AGE_S, KubeSessionKeys
from kns.model import names
from kns.model.errors import KnsError, UnavailableError
from tests.adapters.api_server import ApiServer
from tests.adapters.faulty_server import Meanwhile, Reset
from tests.fakes.stores import FakeClock

NAMESPACE = "kns"


@pytest.fixture
def keys(client: KubeClient, clock: FakeClock) -> KubeSessionKeys:
    return KubeSessionKeys(client, namespace=NAMESPACE, clock=clock)


def put(server: ApiServer, **data: str) -> None:
    encoded = {name.replace("_", "-"): base64.b64encode(value.encode()).decode() for name, value in data.items()}
    server.put("/api/v1", "secrets", secret(encoded))


def secret(data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.WEB_SESSION_SECRET, "namespace": NAMESPACE},
        "data": data,
    }


def test_the_first_replica_makes_the_key_and_the_next_reads_it(
    server: ApiServer, client: KubeClient, keys: KubeSessionKeys, clock: FakeClock
) -> None:
    (key,) = keys.read()
    assert len(key) >= 43
    assert KubeSessionKeys(client, namespace=NAMESPACE, clock=clock).read() == (key,)


def test_two_replicas_that_make_it_at_once_have_the_same(server: ApiServer, keys: KubeSessionKeys) -> None:
    """The other one is faster between the read and the create."""
    server.script("GET", names.WEB_SESSION_SECRET, Meanwhile(lambda: put(server, key="k" * 40)))
    assert keys.read() == ("k" * 40,)


def test_the_keys_are_read_once_in_a_while(server: ApiServer, keys: KubeSessionKeys, clock: FakeClock) -> None:
    put(server, key="k" * 40)
    assert keys.read() == ("k" * 40,)
    put(server, key="n" * 40, old_key="k" * 40)
    asked = len(server.seen)
    assert keys.read() == ("k" * 40,)
    assert len(server.seen) == asked
    clock.advance(AGE_S)
    assert keys.read() == ("k" * 40, "n" * 40), "the last one signs"


def test_a_host_that_is_down_ends_no_session(server: ApiServer, keys: KubeSessionKeys, clock: FakeClock) -> None:
    put(server, key="k" * 40)
    keys.read()
    clock.advance(AGE_S)
    server.script("GET", names.WEB_SESSION_SECRET, Reset())
    assert keys.read() == ("k" * 40,)


def test_without_any_key_there_is_no_session(server: ApiServer, keys: KubeSessionKeys) -> None:
    server.script("GET", names.WEB_SESSION_SECRET, Reset())
    with pytest.raises(KnsError):
        keys.read()


@pytest.mark.parametrize("data", [{"key": "short"}, {"other": "k" * 40}, {}], ids=str)
def test_a_key_that_can_be_guessed_is_refused(server: ApiServer, keys: KubeSessionKeys, data: dict[str, str]) -> None:
    put(server, **data)
    with pytest.raises(UnavailableError, match="delete the Secret"):
        keys.read()
