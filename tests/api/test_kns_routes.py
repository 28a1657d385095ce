"""The API of kns's own clients: shapes of its answers, its errors, and who may use it."""

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from kns.model.errors import RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.model.job.usage import Usage
from kns.ports import Kind
from tests.api.client import Api, as_json, assert_refused
from tests.builders import a_job
from tests.fakes.room import MemoryRoom, a_node

ROUTES = ["job", "explain", "connection"]
POSTED = ["extend", "keep", "delete", "sleep", "wake"]
OTHERS = ["limits", "overview", "free"]  # not about one job
CLUSTER = "cluster/{number}/{rest:path}"  # has its own tests: test_cluster_routes.py


def ask(api: Api, route: str, *, as_user: str | None = "user1", **params: Any) -> httpx.Response:
    credentials = {"username": as_user, "apikey": f"key-{as_user}"} if as_user else {}
    return api.call("GET", f"/kns/{route}", params={**credentials, **params})


def a_step(name: str, title: str, state: str, **changes: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"name": name, "title": title, "state": state, "began": None, "ended": None, "seconds": None}
    return {**step, "reason": None, "message": "", **changes}


def test_a_job_has_its_times_and_its_timeline(api: Api) -> None:
    builder = a_job().condition(ConditionType.NAMESPACE_READY, at_s=1).spawning()
    api.add(
        builder.condition(ConditionType.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.SPAWNING, at_s=2)
        .labelled("mine")
        .with_accepted(walltime_s=3600)
    )
    api.clock.advance(12)
    answer = ask(api, "job", number=7)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == as_json(
        {
            "number": 7,
            "name": "20260105141530-00007-hello-user1_s1",
            "namespace": "kns-job-7",
            "user": "user1",
            "app": "hello",
            "command": "Hello",
            "machine": "kns-small",
            "nodes": 1,
            "label": "mine",
            "project": None,
            "status": "SUBMITTED",
            "substatus": "starting virtual cluster",
            "rest": "awake",
            "exit_code": 0,
            "reason": None,
            "message": None,
            "url": None,
            "submitted": "2026-01-05T14:15:30Z",
            "started": None,
            "ended": None,
            "walltime_seconds": 3600,
            "walltime_end": None,
            "usage": None,
            "now": "2026-01-05T14:15:42Z",
            "steps": [
                a_step("namespace", "prepare the namespace", "done", reason="Ok",
                       began="2026-01-05T14:15:30Z", ended="2026-01-05T14:15:31Z", seconds=1.0),
                a_step("vcluster", "start the virtual cluster", "active", reason="Spawning",
                       began="2026-01-05T14:15:31Z", seconds=11.0),
                a_step("prepare", "prepare the virtual cluster", "pending"),
                a_step("init", "deploy the application", "pending"),
                a_step("ingress", "publish the address", "pending"),
                a_step("serve", "serve", "pending"),
            ],
        }
    )  # fmt: skip


def test_an_explanation_has_limits_warnings_and_advice(api: Api) -> None:
    api.add(a_job().exposed())
    quota = {"hard": {"requests.cpu": "2200m"}, "used": {"requests.cpu": "2"}}
    api.namespaces.objects[Kind.RESOURCE_QUOTA, "kns-job-7"] = [{"metadata": {"name": "kns-quota"}, "status": quota}]
    api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [
        {"type": "Warning", "reason": "BackOff", "message": "m", "lastTimestamp": "2026-01-05T14:16:00Z",
         "involvedObject": {"kind": "Pod", "name": "web-0-x-default-x-kns-job-7"}}
    ]  # fmt: skip
    assert ask(api, "explain", number=7).content == as_json(
        {
            "standing": "serving",
            "summary": "Job 7 serves at https://kns-job-7.jobs.example.org.",
            "cause": "",
            "uses": [{"what": "cpu", "used": 2.0, "limit": 2.2, "unit": "cores"}],
            "warnings": [
                {"time": "2026-01-05T14:16:00Z", "subject": "Pod web-0 in namespace default", "reason": "BackOff",
                 "message": "m", "count": 1}
            ],
            "advice": ["The container or its image fails again and again. Read the pod's log."],
        }
    )  # fmt: skip


def test_a_connection_has_the_addresses_and_the_login(api: Api) -> None:
    api.add(a_job().exposed().condition(ConditionType.SHELL_READY, at_s=45))
    assert ask(api, "connection", number=7).content == as_json(
        {
            "url": "https://kns-job-7.jobs.example.org",
            "shell_url": "https://kns-job-7.jobs.example.org/gotty-shell",
            "address": "kns-job-7.jobs.example.org",
            "user": "user1",
            "password": "P" * 16,
        }
    )


def test_what_is_free_is_said_of_each_machine() -> None:
    """`kns-large` needs nodes that this host does not have; `kns-classic` runs no nested jobs."""
    room = MemoryRoom(nodes=[a_node()], selectors={frozenset(), frozenset({("pool", "big")})})
    api = Api(room=room)
    assert ask(api, "free").content == as_json({"machines": {"kns-small": 3, "kns-large": 0}})
    room.selectors.clear()
    room.selectors.add(frozenset())
    assert ask(api, "free").json() == {"machines": {"kns-small": 3, "kns-large": None}}
    room.is_refused = True
    assert ask(api, "free").json() == {"machines": {"kns-small": None, "kns-large": None}}


def test_a_site_that_does_not_show_what_is_free_says_so(api: Api) -> None:
    assert ask(api, "free").json() == {"machines": {"kns-small": None, "kns-large": None}}
    assert ask(api, "free", as_user=None).status_code == 400


def test_a_job_that_is_not_running_has_no_connection(api: Api) -> None:
    api.add(a_job())
    assert_refused(ask(api, "connection", number=7), 409, "kns-job-7 is SUBMITTED")
    api.add(a_job().started())
    assert_refused(ask(api, "connection", number=7), 409, "kns-job-7 cannot be reached yet")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("user", ["user1", "lead1", "payer1", "admin1"])
def test_who_may_see_a_job_may_ask_about_it(api: Api, route: str, user: str) -> None:
    api.add(a_job().exposed())
    assert ask(api, route, as_user=user, number=7).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("params", [{"number": 8}, {"name": "x"}, {"number": 7, "name": "x"}])
def test_an_unknown_job_and_somebody_elses_get_the_same_answer(api: Api, route: str, params: dict[str, Any]) -> None:
    api.add(a_job().exposed())
    assert_refused(ask(api, route, **params), 404, "Job not found")
    assert_refused(ask(api, route, as_user="user2", number=7), 404, "Job not found")


@pytest.mark.parametrize("route", ROUTES)
def test_credentials_and_parameters_are_checked_as_in_the_public_api(api: Api, route: str) -> None:
    assert_refused(ask(api, route, as_user=None, number=7), 400, "Required parameter(s) missing")
    assert_refused(ask(api, route, as_user=None, apikey="x", number=7), 400, "User required")
    assert_refused(ask(api, route, as_user=None, username="user1", apikey="x"), 401, "Unauthorized")
    assert_refused(ask(api, route), 400, "No job specified")
    assert_refused(ask(api, route, number="x"), 400, "Invalid parameter(s)")


# --- all jobs together


def test_everybody_sees_their_own_limit(api: Api) -> None:
    api.add(a_job())
    assert ask(api, "limits").json() == {"live_jobs": 1, "live_jobs_limit": None}
    assert ask(api, "limits", as_user="user2").json() == {"live_jobs": 0, "live_jobs_limit": None}
    assert_refused(ask(api, "limits", as_user=None), 400, "Required parameter(s) missing")


def test_system_admins_see_the_whole_installation(api: Api) -> None:
    api.add(a_job().exposed())
    api.add(a_job().numbered(8).owned_by("user3").started().ended(JobState.FAILED).with_status(reason="InitFailed"))
    found = ask(api, "overview", as_user="admin1").json()
    assert found["users"] == [{"user": "user1", "live_jobs": 1, "cores": 2, "memory_gib": 4, "gpus": 0}]
    assert [job["number"] for job in found["live"]] == [7]
    assert [(job["number"], job["user"]) for job in found["failed"]] == [(8, "user3")]
    assert found["failures"] == [{"reason": "InitFailed", "count": 1}]
    assert (found["starting"], found["running"], found["orphans"], found["more"]) == (0, 1, [], False)
    assert ask(api, "overview", as_user="admin1", page=2).json()["live"] == []


@pytest.mark.parametrize("user", ["user1", "lead1", "payer1"])
def test_the_overview_is_for_system_admins(api: Api, user: str) -> None:
    assert_refused(ask(api, "overview", as_user=user), 403, f"{user} is not a system admin")


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999", "\u0663"])
def test_a_page_is_a_small_number(api: Api, page: str) -> None:
    assert_refused(ask(api, "overview", as_user="admin1", page=page), 400, "Invalid parameter(s)")


def test_a_page_may_be_a_number_of_json(api: Api) -> None:
    api.add(a_job().exposed())
    login = {"username": "admin1", "apikey": "key-admin1"}
    found = api.call("POST", "/kns/overview", json={**login, "page": 1}).json()
    assert [job["number"] for job in found["live"]] == [7]
    assert api.call("POST", "/kns/overview", json={**login, "page": 2}).json()["live"] == []
    assert_refused(api.call("POST", "/kns/overview", json={**login, "page": 0}), 400, "Invalid parameter(s)")


def test_a_job_has_its_usage(api: Api) -> None:
    usage = Usage(time=api.clock.now(), cores=1.5, gib=2, gpus=0)
    api.add(a_job().exposed().with_status(usage=usage))
    api.clock.advance(3600)
    assert ask(api, "job", number=7).json()["usage"] == {
        "core_hours": 1.5, "memory_gib_hours": 2.0, "gpu_hours": 0.0, "cores": 1.5, "memory_gib": 2.0, "gpus": 0.0
    }  # fmt: skip


# --- extend


def extend(api: Api, *, as_user: str = "user1", **params: Any) -> httpx.Response:
    headers = {"X-API-Username": as_user, "X-API-Key": f"key-{as_user}"}
    return api.call("POST", "/kns/extend", data=params, headers=headers)


def test_a_walltime_is_extended(api: Api) -> None:
    api.add(a_job().with_accepted(walltime_s=3600).exposed())
    answer = extend(api, number=7, walltime="02:00:00")
    assert (answer.status_code, answer.content) == (200, as_json({"walltime_seconds": 7200}))
    assert ask(api, "job", number=7).json()["walltime_seconds"] == 7200


def test_an_extension_that_is_refused_says_why(api: Api) -> None:
    api.add(a_job().with_accepted(walltime_s=3600).exposed())
    api.add(a_job().numbered(8).with_accepted(walltime_s=3600).exposed().ended())
    api.add(a_job().numbered(9).with_accepted(walltime_s=3600).owned_by("idle1").exposed())
    assert_refused(extend(api, number=7), 400, "Required parameter(s) missing")
    assert_refused(extend(api, number=7, walltime="1h"), 400, "walltime: '1h' is not HH:MM:SS")
    assert_refused(extend(api, number=7, walltime="00:30:00"), 400, "walltime: job 7 has 01:00:00; give a longer one")
    why = "job 8 has ended or is ending, so its walltime cannot be extended"
    assert_refused(extend(api, number=8, walltime="02:00:00"), 409, why)
    assert_refused(extend(api, as_user="idle1", number=9, walltime="02:00:00"), 403, "the account idle1 is not active")
    assert_refused(extend(api, as_user="user2", number=7, walltime="02:00:00"), 404, "Job not found")
    api.jobs.faults["extend_walltime"] = RefusedError("an older CRD")
    assert_refused(extend(api, number=7, walltime="02:00:00"), 500, "an older CRD")
    assert_refused(ask(api, "extend", number=7, walltime="02:00:00"), 405, "Method not allowed")


def post(api: Api, route: str, *, as_user: str = "admin1", **params: Any) -> httpx.Response:
    headers = {"X-API-Username": as_user, "X-API-Key": f"key-{as_user}"}
    return api.call("POST", f"/kns/{route}", data=params, headers=headers)


def test_administrators_keep_jobs_and_delete_records(api: Api) -> None:
    api.add(a_job().exposed())
    assert_refused(post(api, "keep", number=7), 400, "Required parameter(s) missing")
    assert_refused(post(api, "keep", number=7, keep="perhaps"), 400, "Invalid parameter(s)")
    assert post(api, "keep", number=7, keep="true").json() == {"keep": True}
    assert_refused(post(api, "delete", number=7), 409, "job 7 has not ended; stop it first")
    api.add(a_job().exposed().ended())
    assert_refused(post(api, "keep", number=7, keep="true"), 409, "job 7 has ended, so it is too late to keep it")
    assert post(api, "delete", number=7).json() == {"number": 7}
    assert "delete kns-job-7" in api.jobs.writes
    assert_refused(ask(api, "delete", as_user="admin1", number=7), 405, "Method not allowed")


@pytest.mark.parametrize(("user", "status"), [("user1", 403), ("lead1", 403), ("user2", 404)])
def test_others_neither_keep_nor_delete(api: Api, user: str, status: int) -> None:
    api.add(a_job().exposed().ended())
    assert post(api, "keep", as_user=user, number=7, keep="true").status_code == status
    assert post(api, "delete", as_user=user, number=7).status_code == status


def test_a_job_sleeps_and_wakes(api: Api) -> None:
    api.ports = replace(api.ports, has_volume=lambda _job: True)
    api.add(a_job().exposed())
    for route, asleep in (("sleep", True), ("wake", False)):
        assert post(api, route, as_user="user1", number=7).json() == {"number": 7}
        job = api.jobs.find(7)
        assert job is not None
        assert job.spec.sleep is asleep
        assert_refused(ask(api, route, number=7), 405, "Method not allowed")
        assert_refused(post(api, route, as_user="user2", number=7), 404, "Job not found")
    api.add(a_job().resting(Reason.ASLEEP))
    found = ask(api, "job", number=7).json()
    assert (found["status"], found["substatus"], found["rest"]) == ("PROCESSING STARTING", "asleep", "asleep")
    assert ask(api, "explain", number=7).json()["standing"] == "asleep"


def test_a_job_that_cannot_sleep_says_why(api: Api) -> None:
    api.add(a_job().exposed())
    answer = post(api, "sleep", as_user="user1", number=7)
    assert answer.status_code == 409
    assert "has no volume to keep its state in" in answer.json()["error"]
    api.add(a_job().started())
    assert_refused(post(api, "sleep", number=7), 409, "job 7 does not serve yet, so it cannot sleep")
    api.add(a_job().exposed().ended())
    assert_refused(post(api, "wake", number=7), 409, "job 7 has ended or is ending, so it cannot be woken")


def test_a_host_that_does_not_answer_is_not_ready(api: Api) -> None:
    api.add(a_job().exposed())
    api.namespaces.faults[Kind.RESOURCE_QUOTA] = UnavailableError("no answer")
    assert_refused(ask(api, "explain", number=7), 503, "not ready")


@pytest.mark.parametrize("route", [*ROUTES, "overview", "usage", "limits", "machines", "unknown"])
@pytest.mark.parametrize("user", ["admin1", "user2", None])
def test_no_cache_stores_an_answer(api: Api, route: str, user: str | None) -> None:
    """`connection` has the password of a job."""
    assert ask(api, route, as_user=user, number=7).headers["cache-control"] == "no-store"


def test_the_table_has_every_route(api: Api) -> None:
    (found,) = (part.kwargs["routes"] for part in api.app.user_middleware if "routes" in part.kwargs)
    paths = cast(frozenset[str], found)
    own = {path for path in paths if path.startswith("/kns/")}
    assert own == {f"/kns/{route}" for route in [*ROUTES, *POSTED, *OTHERS, CLUSTER, "openapi.json"]}
