"""A configured class that the host does not have causes a warning at start and nothing else."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from kns.model.errors import UnavailableError
from kns.model.site import ClassSettings, Site
from kns.ports import Kind, Object
from kns.start_checks import warn_of_missing_classes
from tests.builders import a_site
from tests.fakes.host import FakeHost
from tests.fakes.stores import FakeClock


def _site(storage_class: str | None, *runtime_classes: str) -> Site:
    return replace(a_site(), classes=ClassSettings(storage_class, "80Gi", runtime_classes))


@pytest.mark.proves(
    "settings",
    "A storage or runtime class that the host does not have causes a warning at the start and is not shown inside",
)
def test_each_class_that_the_host_lacks_is_named_once() -> None:
    host = FakeHost(FakeClock())
    host.put(Kind.RUNTIME_CLASS, "", "nvidia", {"handler": "nvidia"})
    with capture_logs() as logs:
        warn_of_missing_classes(host, _site("jarvice-user", "nvidia", "gvisor"))
    assert [(line["event"], line["log_level"], line["kind"], line["name"]) for line in logs] == [
        ("class_missing", "warning", "RuntimeClass", "gvisor"),
        ("class_missing", "warning", "StorageClass", "jarvice-user"),
    ]


def test_without_a_class_there_is_nothing_to_say() -> None:
    with capture_logs() as logs:
        warn_of_missing_classes(FakeHost(FakeClock()), _site(None))
    assert logs == []


def test_a_host_that_does_not_answer_keeps_nothing_from_starting() -> None:
    class SilentHost(FakeHost):
        def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
            raise UnavailableError(f"GET {kind} {name}: no answer")

    with capture_logs() as logs:
        warn_of_missing_classes(SilentHost(FakeClock()), _site("jarvice-user", "nvidia"))
    assert [(line["event"], line["name"]) for line in logs] == [
        ("class_not_checked", "nvidia"),
        ("class_not_checked", "jarvice-user"),
    ]


def test_a_class_that_every_job_needs_is_an_error_with_its_effect() -> None:
    site = _site("fast", "gvisor")
    virtual = replace(site.virtual, runtime_class="gvsior", storage_class="fast")
    with capture_logs() as logs:
        warn_of_missing_classes(FakeHost(FakeClock()), replace(site, virtual=virtual))
    assert [(line["log_level"], line["name"], line["effect"]) for line in logs] == [
        ("warning", "gvisor", "jobs cannot use it until the host has it"),
        ("error", "fast", "no virtual cluster gets the volume for its state"),
        ("error", "gvsior", "the host refuses every pod of a tenant"),
    ]
