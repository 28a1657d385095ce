"""Which pods of kns answer in place of a sleeping job."""

from typing import Any

from kns.adapters.doors import AGE_S, OwnPods
from tests.fakes.stores import FakeClock


def _pod(address: str | None, *, ready: bool = True, ending: bool = False) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], **({"podIP": address} if address else {})}
    return {"metadata": {"deletionTimestamp": "now"} if ending else {}, "status": status}


def test_ready_pods_answer_and_are_listed_once_in_a_while() -> None:
    clock, asked = FakeClock(), list[tuple[str, str, str]]()
    pods = [
        _pod("10.0.0.2"),
        _pod("10.0.0.1"),
        _pod("10.0.0.3", ready=False),
        _pod("10.0.0.4", ending=True),
        _pod(None),
    ]

    def list_objects(kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        asked.append((kind, namespace, selector))
        return pods

    doors = OwnPods(list_objects, namespace="kns-system", clock=clock)
    assert doors.list_addresses() == ("10.0.0.1", "10.0.0.2")
    pods.append(_pod("10.0.0.5"))
    assert doors.list_addresses() == ("10.0.0.1", "10.0.0.2")
    clock.advance(AGE_S)
    assert doors.list_addresses() == ("10.0.0.1", "10.0.0.2", "10.0.0.5")
    assert asked == 2 * [("Pod", "kns-system", "app.kubernetes.io/name=kns-scheduler")]
