"""`events` and `metrics`: what the host knows of a job's namespace, and the answer while it knows nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kns.model.catalog.machine import Machine
from kns.model.errors import ForbiddenError, NotFoundError, UnavailableError
from kns.model.job.job import MachineChoice
from kns.ports import Kind
from kns.service.insight import _warn_unmeasured
from tests.api.client import Api, as_json, assert_refused
from tests.builders import a_job

NAMESPACE = "kns-job-7"
NOT_RUNNING = "Running job is not found"


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    structlog.reset_defaults()
    _warn_unmeasured.cache_clear()
    yield
    structlog.reset_defaults()


def an_event(message: str, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "x", "creationTimestamp": "2026-01-05T14:00:00Z"},
        "type": "Normal",
        "reason": "Scheduled",
        "involvedObject": {"kind": "Pod", "name": "web-0"},
        "message": message,
        **changes,
    }


def ask_events(api: Api, *events: dict[str, Any]) -> str:
    api.namespaces.objects[Kind.EVENT, NAMESPACE] = list(events)
    answer = api.get("events", as_user="admin1", number=7)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain")
    return answer.text


@pytest.mark.proves("routes", "`events` has one line per event, the oldest first")
def test_events_are_lines_with_the_oldest_first(api: Api) -> None:
    api.add(a_job().started())
    text = ask_events(
        api,
        an_event("third", lastTimestamp="2026-01-05T14:16:00Z", type="Warning", reason="BackOff"),
        an_event("first", lastTimestamp="2026-01-05T14:15:00Z"),
        an_event("second", lastTimestamp="2026-01-05T14:15:30Z",
                 involvedObject={"kind": "ResourceQuota", "name": "kns-quota"}),
    )  # fmt: skip
    assert text == (
        "2026-01-05T14:15:00Z Normal Scheduled Pod/web-0: first\n"
        "2026-01-05T14:15:30Z Normal Scheduled ResourceQuota/kns-quota: second\n"
        "2026-01-05T14:16:00Z Warning BackOff Pod/web-0: third\n"
    )


TIMES: list[tuple[str, dict[str, Any], str]] = [
    ("a series: its last", {"series": {"lastObservedTime": "2026-01-05T14:03:00.5Z"},
                            "eventTime": "2026-01-05T14:02:00.1Z"}, "2026-01-05T14:03:00Z"),
    ("counted: the last time", {"firstTimestamp": "2026-01-05T14:01:00Z", "lastTimestamp": "2026-01-05T14:04:00Z"},
     "2026-01-05T14:04:00Z"),
    ("of the newer API", {"lastTimestamp": None, "eventTime": "2026-01-05T14:02:00.123456Z"}, "2026-01-05T14:02:00Z"),
    ("seen once", {"firstTimestamp": "2026-01-05T14:01:00Z"}, "2026-01-05T14:01:00Z"),
    ("years that Python does not know", {"lastTimestamp": "10000-01-01T00:00:00Z", "eventTime": "0000-01-01T00:00:00Z"},
     "2026-01-05T14:00:00Z"),
    ("without any", {}, "2026-01-05T14:00:00Z"),
    ("without even an age", {"metadata": {}}, "1970-01-01T00:00:00Z"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "times", "shown"), TIMES, ids=[row[0] for row in TIMES])
def test_the_time_of_an_event(api: Api, sentence: str, times: dict[str, Any], shown: str) -> None:
    api.add(a_job())
    assert ask_events(api, an_event("m", **times)).split()[0] == shown


def test_an_event_is_one_line_whatever_it_says_or_leaves_out(api: Api) -> None:
    api.add(a_job())
    assert ask_events(api, an_event(" two\n lines\t\u00fc ")).endswith("Pod/web-0: two lines \u00fc\n")
    empty = an_event("", type=None, reason=None, involvedObject=None)
    assert ask_events(api, empty) == "2026-01-05T14:00:00Z - - -/-: \n"


def test_events_of_another_job_are_not_mixed_in(api: Api) -> None:
    api.add(a_job())
    api.namespaces.objects[Kind.EVENT, "kns-job-70"] = [an_event("other")]
    assert ask_events(api) == ""


@pytest.mark.parametrize("error", [NotFoundError("404"), ForbiddenError("403")])
def test_events_before_the_namespace_is_there_are_none(api: Api, error: Exception) -> None:
    api.add(a_job())
    api.namespaces.faults[Kind.EVENT] = error
    assert ask_events(api) == ""


@pytest.mark.parametrize("caller", ["user1", "lead1", "payer1"])
@pytest.mark.parametrize("params", [{"number": 7}, {"number": 99}, {"number": "x"}, {}])
def test_events_are_for_system_admins(api: Api, caller: str, params: dict[str, Any]) -> None:
    api.add(a_job())
    assert_refused(api.get("events", as_user=caller, **params), 401, "Unauthorized")


# --- metrics


def pod(*usages: tuple[Any, Any]) -> dict[str, Any]:
    return {"containers": [{"name": "c", "usage": {"cpu": cpu, "memory": memory}} for cpu, memory in usages]}


def ask_metrics(api: Api, *pods: dict[str, Any]) -> Any:
    api.namespaces.objects[Kind.POD_METRICS, NAMESPACE] = list(pods)
    return api.get("metrics", number=7)


@pytest.mark.proves("shapes", "Memory is in GiB in machines, in KiB in `metrics`")
@pytest.mark.proves("routes", "`metrics` is one item: the sum over the job's namespace, including kns's own pods")
def test_metrics_are_the_sum_over_the_namespace(api: Api) -> None:
    """The machine kns-small has two cores and 4 GiB."""
    api.add(a_job().exposed())
    answer = ask_metrics(api, pod(("500m", "100Mi"), ("540000000n", "16432Ki")), pod(("0", "1024")))
    assert answer.content == as_json(
        {
            "itemized": {"cpu_used": [52], "memory_used": [118833], "memory_total": [4194304]},
            "summary": {"cpu_used": 52, "memory_used": 118833, "memory_total": 4194304},
        }
    )


MACHINE = Machine(mc_name="m", mc_cores=4, mc_ram=8, mc_slave_ram=4)


def test_nodes_multiply_what_is_allotted(api: Api) -> None:
    job = a_job().with_accepted(machine=MACHINE).with_spec(machine=MachineChoice(type="m", nodes=3)).exposed()
    api.add(job)
    summary = ask_metrics(api, pod(("6", "1Gi"))).json()["summary"]
    assert summary == {"cpu_used": 50, "memory_used": 1048576, "memory_total": 16777216}


@pytest.mark.parametrize(
    ("pods", "used"),
    [([{}], (0, 0)), ([{"containers": None}], (0, 0)), ([{"containers": [{"name": "x"}]}], (0, 0)),
     ([pod(("9", "0"))], (450, 0)), ([pod(("1n", "1"))], (0, 0))],
)  # fmt: skip
def test_metrics_are_integers_whatever_is_measured(api: Api, pods: list[dict[str, Any]], used: tuple[int, int]) -> None:
    api.add(a_job().exposed())
    summary = ask_metrics(api, *pods).json()["summary"]
    assert (summary["cpu_used"], summary["memory_used"]) == used
    assert {type(value) for value in summary.values()} == {int}


def test_a_machine_that_allots_no_cores_is_no_fault(api: Api) -> None:
    """A damaged record has such a machine."""
    api.add(a_job().with_accepted(machine=MACHINE.model_copy(update={"mc_cores": 0})).exposed())
    assert ask_metrics(api, pod(("1", "1Gi"))).json()["summary"]["cpu_used"] == 0


def test_metrics_before_anything_was_measured(api: Api) -> None:
    api.add(a_job().started())
    assert_refused(ask_metrics(api), 404, NOT_RUNNING)


@pytest.mark.parametrize(
    ("error", "warnings"),
    [(NotFoundError("404 page not found"), 1), (ForbiddenError("403"), 0)],
    ids=["none", "no right"],
)
def test_a_host_without_metrics_is_said_once_to_the_operator(api: Api, error: Exception, warnings: int) -> None:
    api.add(a_job().started())
    api.namespaces.faults[Kind.POD_METRICS] = error
    with capture_logs() as logs:
        for _ in range(3):
            assert_refused(api.get("metrics", number=7), 404, NOT_RUNNING)
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["no_metrics_api"] * warnings


@pytest.mark.parametrize(
    ("route", "kind", "caller"), [("events", Kind.EVENT, "admin1"), ("metrics", Kind.POD_METRICS, "user1")]
)
def test_a_host_that_does_not_answer_is_not_ready(api: Api, route: str, kind: Kind, caller: str) -> None:
    api.add(a_job().started())
    api.namespaces.faults[kind] = UnavailableError("no answer")
    assert_refused(api.get(route, as_user=caller, number=7), 503, "not ready")
