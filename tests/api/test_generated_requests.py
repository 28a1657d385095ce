"""
Requests generated from the OpenAPI document, good and bad ones: every answer is one that the document describes.

KNS_SCHEMATHESIS_CASES is the least number of requests over all operations. Without it each operation gets few random
requests, and the boundaries of each parameter are tried once: in queries, because test_every_route.py shows that a form
is answered like a query, and in the body of submit. The requests are the same in every run.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    CoveragePhaseConfig,
    ExamplesPhaseConfig,
    GenerationConfig,
    OperationConfig,
    OperationsConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.filters import FilterSet
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kns.api.jarvice.document import describe_api
from kns.model.job.job import JobState
from kns.model.job.output import JobOutput
from kns.ports import Kind
from tests.api.client import Api
from tests.builders import a_catalog, a_job, a_loose_appdef, a_submission, an_app, an_appdef
from tests.fakes.stores import StaticCatalog

Case = schemathesis.Case[Any]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WANTED = int(os.environ.get("KNS_SCHEMATHESIS_CASES") or 0)
QUICK_EXAMPLES = 2

USERS = ("user1", "user1", "admin1", "lead1", "payer1", "idle1")
JOBS = (
    a_job(),
    a_job().spawning(),
    a_job().started(),
    a_job().exposed(),
    a_job().exposed().stopping(),
    a_job().without_target().exposed(url=None),
    a_job().ended(JobState.CANCELED),
    a_job().started().ended(JobState.FAILED),
    a_job().exposed().ended(JobState.TERMINATED).removed(),
    a_job().exposed().owned_by("user2").labelled("demo"),
)
# Values that a generator hardly finds, by the name of the parameter.
HITS: dict[str, tuple[Any, ...]] = {
    "number": (*range(1, len(JOBS) + 1), "4", "99"),
    "name": ("hello", "secret", "loose", "kns-small", "20260105141530-00004-hello-user1_s1"),
    "vault": ("data", "ephemeral"),
    "path": ("/",),
    "action": ("reboot",),
    "completed": ("true",),
    "all": ("true",),
    "label": ("de",),
}
# By route: a request that is answered with 200.
SURE: dict[str, tuple[str, dict[str, Any]]] = {
    "status": ("user1", {"number": 1}),
    "info": ("user1", {"number": 4}),
    "connect": ("user1", {"number": 4}),
    "tail": ("user1", {"number": 3, "lines": 5}),
    "output": ("user1", {"number": 8}),
    "events": ("admin1", {"number": 3}),
    "metrics": ("user1", {"number": 4}),
    "shutdown": ("lead1", {"number": 4}),
    "terminate": ("user1", {"number": 1}),
    "jobs": ("user1", {"all": "true"}),
    "teamjobs": ("payer1", {}),
    "apps": ("admin1", {}),
    "appdef": ("user1", {"name": "loose"}),
    "machines": ("user1", {}),
    "vault": ("user1", {"vault": "data", "path": "/"}),
    "queues": ("user1", {"info": 1}),
    "live": ("user1", {}),
    "ready": ("user1", {}),
    "openapi.json": ("user1", {}),
    "projects": ("admin1", {}),
    "teamusers": ("lead1", {}),
}
BODIES: dict[str, dict[str, Any]] = {
    "submit": a_submission(),
    "batch": {**a_submission(), "container": {}},
    "validate": an_appdef(),
}
GOOD = [
    (path, method)
    for path, item in describe_api()["paths"].items()
    for method in item
    if path.rpartition("/")[2] in SURE
]

sent: Counter[str] = Counter()


def _parse(document: dict[str, Any]) -> Any:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    varied = [each for each in operations if each.get("parameters") or each.get("requestBody")]
    repeating = FilterSet()
    repeating.include(operation_id=[each["operationId"] for each in operations if _repeats_another(each)])
    no_boundaries = PhasesConfig(
        examples=ExamplesPhaseConfig(enabled=False), coverage=CoveragePhaseConfig(enabled=False)
    )
    project = ProjectConfig(
        operations=OperationsConfig(
            operations=[] if WANTED else [OperationConfig(filter_set=repeating, phases=no_boundaries)]
        ),
        generation=GenerationConfig(
            deterministic=True,
            database="none",
            max_examples=max(QUICK_EXAMPLES, math.ceil(WANTED / len(varied))),
        ),
        phases=PhasesConfig(
            examples=ExamplesPhaseConfig(enabled=False),
            coverage=CoveragePhaseConfig(unexpected_methods=set()),
        ),
    )
    parsed = schemathesis.openapi.from_dict(
        document, config=SchemathesisConfig(projects=ProjectsConfig(default=project))
    )
    parsed.filter_set = FilterSet()  # with settings per operation it includes all, and `include` would add to them
    return parsed


def _repeats_another(operation: dict[str, Any]) -> bool:
    """Whether another operation has the same parameters, or the body is an AppDef."""
    is_form = "application/x-www-form-urlencoded" in operation.get("requestBody", {}).get("content", {})
    return is_form or operation["operationId"] in ("post_batch", "post_validate")


schema = _parse(describe_api())


KEPT = [
    *(builder.numbered(number).build() for number, builder in enumerate(JOBS, start=1)),
    a_job().numbered(10**6).not_accepted().build(),
]


@pytest.fixture(scope="module")
def api() -> Api:
    api = Api(catalog=StaticCatalog(a_catalog(apps={"loose": an_app(a_loose_appdef())})))
    for job in KEPT:
        namespace = f"kns-job-{job.number}"
        api.outputs.write(job, JobOutput(log="[1/1] web, attempt 1\n"))
        api.namespaces.objects[Kind.EVENT, namespace] = [{"reason": "Scheduled", "message": "to n1"}]
        api.namespaces.objects[Kind.POD_METRICS, namespace] = [
            {"containers": [{"usage": {"cpu": "250m", "memory": "64Mi"}}]}
        ]
    return api


def _restore(api: Api) -> None:
    """Undo stops by earlier requests, and let the rate limits forget them."""
    for job in KEPT:
        stored = api.jobs.get(job.record)
        if stored is None or stored.spec != job.spec:
            api.jobs.add(job)
            api.tokens.ensure(job)
    api.clock.advance(3600)


def _aim(case: Case) -> None:
    """
    Give most requests the credentials of a user and something that exists. The others stay as generated.

    The choice depends on the request alone, so that it is the same each time.
    """
    choice = [case.operation.label, case.query, case.body]
    dice = crc32(json.dumps(choice, sort_keys=True, default=lambda value: type(value).__name__).encode())
    kind, dice = dice % 6, dice // 6
    route = case.operation.path.rpartition("/")[2]
    if kind == 0:
        return
    case.headers.pop("Authorization", None)  # a token, even a wrong one, wins over a key
    if route in BODIES:
        _aim_body(case, BODIES[route], dice)
    else:
        user, dice = USERS[dice % len(USERS)], dice // len(USERS)
        hits = {name: values[dice // 4 % len(values)] for name, values in HITS.items() if _takes(case, name)}
        if "number" in hits and dice % 4:
            del hits["name"]
        case.query = {**(case.query or {}), **hits, "username": user, "apikey": f"key-{user}"}


def _aim_body(case: Case, good: dict[str, Any], dice: int) -> None:
    """A generated part in a valid body, or a valid part in a generated one."""
    if not isinstance(case.body, dict):
        return
    case.body = {**case.body, **good} if dice % 2 else {**good, **case.body}
    if "user" in good and dice % 8:
        user = USERS[dice // 8 % len(USERS)]
        case.body = {**case.body, "user": {"username": user, "apikey": f"key-{user}"}}


def _takes(case: Case, name: str) -> bool:
    """Whether the operation has that parameter, in the query or in a form."""
    if any(parameter.name == name for parameter in case.operation.query):
        return True
    return any(name in form.definition["schema"].get("properties", {}) for form in case.operation.body)


def _try(path: str, method: str) -> Callable[..., None]:
    """The test of one operation. schemathesis would give the tests of all operations the same id."""

    @schema.include(path=path, method=method.upper()).parametrize()  # type: ignore[untyped-decorator]  # no types
    def test_every_answer_is_described(case: Case, api: Api) -> None:
        _restore(api)
        _aim(case)
        case.call_and_validate(app=api.app, checks=CHECKS)
        sent[case.operation.label] += 1

    return test_every_answer_is_described  # type: ignore[no-any-return]


for _path, _item in describe_api()["paths"].items():
    for _method in _item:
        globals()[f"test_every_answer_is_described[{_method} {_path}]"] = _try(_path, _method)


@pytest.mark.parametrize(("path", "method"), GOOD)
def test_a_good_request_gets_the_answer_that_is_described(path: str, method: str, api: Api) -> None:
    """Otherwise the test above might see only errors."""
    _restore(api)
    user, params = SURE[path.rpartition("/")[2]]
    case = schema[path][method].Case(query={**params, "username": user, "apikey": f"key-{user}"})
    assert case.call_and_validate(app=api.app, checks=CHECKS).status_code == 200


@pytest.mark.parametrize("route", ["submit", "validate"])
def test_a_good_body_gets_the_answer_that_is_described(route: str, api: Api) -> None:
    case = schema[f"/jarvice/{route}"]["POST"].Case(body=BODIES[route], media_type="application/json")
    assert case.call_and_validate(app=api.app, checks=CHECKS).status_code == 200


def test_the_requests_were_as_many_as_wanted() -> None:
    assert sent.total() >= WANTED
