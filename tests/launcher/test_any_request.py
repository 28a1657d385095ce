"""Whatever JSON a request has: it is answered, or refused with a reason, and never a crash of the plugin."""

import copy
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kns.launcher.policy import apply_profile
from kns.launcher.ports import Profile, ResourceLimit, ResourceProfile
from kns.launcher.shapes import build_state
from kns.model.errors import InvalidInputError
from kns.plain.objects import build_job, build_service, mark_job
from kns.plain.state import State, Status
from kns.plain.stored import read_stored
from kns.plain.views import View
from tests.launcher.test_hostile import Jobs, make_plugin, make_view

CRASH = "the plugin failed"
KEYS = ["name", "value", "path", "secretRef", "claimName", "secret", "emptyDir"]
ODD = ["cpuCount", "small", "memory", "NVIDIA GPUs", "s:k:V", "/x", "80", "1e999", "0x1", "-0", "a\0", "\ud800", "*"]
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from([*KEYS, *ODD]))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-1, 70_000), st.floats(), TEXTS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=3)), inner, max_size=4),
    ),
    max_leaves=8,
)


JOB: dict[str, Any] = {
    "name": "a",
    "user": "ana",
    "command": "echo",
    "args": ["a", "b"],
    "container": {"image": "debian", "runAsUserId": 1000, "runAsGroupId": "100", "supplementalGroupIds": [7]},
    "environment": [{"name": "A", "value": "$(x) $$"}, {"name": "A", "value": ""}],
    "stdin": "x",
    "workingDirectory": "/tmp",
    "host": "node-1",
    "exposedPorts": [{"targetPort": 80, "protocol": "udp"}, {"targetPort": "81", "publishedPort": 81}],
    "mounts": [
        {"mountPath": "/a", "type": "host", "source": {"path": "/a"}},
        {"mountPath": "/b", "type": "nfs", "readOnly": True, "source": {"host": "h", "path": "/b"}},
        {"mountPath": "/c", "type": "cephFs", "source": {"monitors": ["m"], "path": "/c", "secretRef": {"name": "s"}}},
        {"mountPath": "/d", "type": "azureFile", "source": {"secretName": "s", "shareName": "d"}},
        {"mountPath": "/e", "type": "glusterFs", "source": {"endpoints": "e", "path": "/e"}},
        {"mountPath": "/f", "type": "passthrough", "source": {"emptyDir": {"medium": "Memory"}, "subPath": "x"}},
        {"mountPath": "/g", "type": "pvc", "source": {"claimName": "home"}},
    ],
    "resourceLimits": [{"type": "cpuCount", "value": "2"}, {"limitType": "memory", "value": 512}],
    "resourceProfile": "custom",
    "placementConstraints": [{"name": "zone", "value": "a"}, {"name": "free", "value": "b"}],
    "config": [{"name": "secret", "value": "db:password:PASSWORD"}],
    "tags": ["x"],
    "queues": ["q"],
    "status": "Failed",
    "id": "7",
}


def list_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from list_places(each, (*path, key))


@st.composite
def changed(draw: st.DrawFn, base: dict[str, Any]) -> dict[str, Any]:
    """The object, with something else in one or two places, or without them."""
    made = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(list(list_places(made))))
        place = made
        for key in way:
            place = place[key]
        if draw(st.booleans()):
            place[last] = draw(JSON)
        elif isinstance(place, dict):
            del place[last]
    return made


PROFILE = Profile(
    constraints=(("zone", "a"), ("free", None)),
    limits=(ResourceLimit("cpuCount", "1", "8"), ResourceLimit("NVIDIA GPUs", "", "2")),
    resource_profiles=(ResourceProfile("small", limits={"cpuCount": "1"}),),
)
REQUEST: dict[str, Any] = {
    "requestId": 2**64 - 1,
    "username": "ana",
    "requestUsername": "ana",
    "jobId": "a-1",
    "job": {"name": "a", "user": "ana", "container": {"image": "debian"}},
    "operation": 4,
    "outputType": 2,
    "cancel": False,
    "tags": ["x"],
    "statuses": ["Running"],
    "fields": ["id"],
    "startTime": "2026-01-05T14:15:31Z",
    "endTime": "2026-01-06",
    "version": {"major": 3, "minor": 0, "patch": 0},
}


@given(data=changed(JOB))
def test_a_submission_is_refused_or_can_be_stored_and_read_back(data: dict[str, Any]) -> None:
    try:
        job = apply_profile(data, PROFILE, user="ana", share_process_namespace=True)
        obj = mark_job(build_job(job, generate_name="a-"), job, cluster="K", generate_name="a-")
    except InvalidInputError:
        return
    limits = job.resources.limits
    assert Decimal(limits["cpu"]) <= 8
    assert job.user == "ana"
    obj["metadata"]["name"] = "a-1"
    stored = read_stored(json.loads(_encode(obj)))
    _encode(build_service(job, job_id="a-1", service="a-1"))
    _encode(build_state(View("a-1", stored.job, stored, State(Status.PENDING), {}), cluster="K"))
    assert (stored.job.environment, stored.job.mounts) == (job.environment, job.mounts)


def _encode(value: Mapping[str, Any]) -> str:
    """As frames and requests are: no NaN, and nothing that is no Unicode."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    text.encode()
    return text


class AllJobs(Jobs):
    """All requests succeed."""

    def submit(self, job: Any, *, check: Any) -> View:
        check()
        return make_view("a-2")

    def control(self, *_: Any) -> Any:
        raise InvalidInputError("", "not here")

    def read_network(self, *_: Any) -> tuple[str, list[str]]:
        return "node", ["10.0.0.1"]


@given(message_type=st.one_of(st.integers(-2, 12), JSON), data=changed(REQUEST), job_id=st.sampled_from(["a-1", "*"]))
def test_any_request_is_answered_or_refused(message_type: Any, data: dict[str, Any], job_id: str) -> None:
    plugin, sink = make_plugin(AllJobs(make_view("a-1")))
    plugin._outputs.open = lambda *_: None  # type: ignore[method-assign]  # its threads are not the subject
    if data.get("jobId") == REQUEST["jobId"]:
        data["jobId"] = job_id
    plugin.accept(json.dumps({**data, "messageType": message_type}).encode())
    for waiting in (plugin._waiting, plugin._calls, plugin._controls):
        while not waiting.empty():
            plugin.answer(waiting.get_nowait())
    messages = sink.messages()
    assert not [each for each in messages if CRASH in each.get("errorMessage", "")]
    assert all(each["errorMessage"] for each in messages if each["messageType"] == -1)
