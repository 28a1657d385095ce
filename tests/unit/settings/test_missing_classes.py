"""A configured class that the host does not have causes a warning at start and nothing else."""

import pytest
from structlog.testing import capture_logs

from kns.model.errors import UnavailableError
from kns.model.site import ClassSettings
from kns.ports import Kind, Object
from kns.start_checks import warn_of_missing_classes
from tests.fakes.host import FakeHost
from tests.fakes.stores import FakeClock


@pytest.mark.proves(
    "settings",
    "A storage or runtime class that the host does not have causes a warning at the start and is not shown inside",
)
def test_each_class_that_the_host_lacks_is_named_once() -> None:
    host = FakeHost(FakeClock())
    host.put(Kind.RUNTIME_CLASS, "", "nvidia", {"handler": "nvidia"})
    with capture_logs() as logs:
        warn_of_missing_classes(host, ClassSettings("jarvice-user", "80Gi", ("nvidia", "gvisor")))
    assert [(line["event"], line["log_level"], line["kind"], line["name"]) for line in logs] == [
        ("class_missing", "warning", "RuntimeClass", "gvisor"),
        ("class_missing", "warning", "StorageClass", "jarvice-user"),
    ]


def test_without_a_class_there_is_nothing_to_say() -> None:
    with capture_logs() as logs:
        warn_of_missing_classes(FakeHost(FakeClock()), ClassSettings(None, "100Gi"))
    assert logs == []


def test_a_host_that_does_not_answer_keeps_nothing_from_starting() -> None:
    class SilentHost(FakeHost):
        def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
            raise UnavailableError(f"GET {kind} {name}: no answer")

    with capture_logs() as logs:
        warn_of_missing_classes(SilentHost(FakeClock()), ClassSettings("jarvice-user", "80Gi", ("nvidia",)))
    assert [(line["event"], line["name"]) for line in logs] == [
        ("class_not_checked", "nvidia"),
        ("class_not_checked", "jarvice-user"),
    ]
