"""
Requests generated from the OpenAPI document, good and bad ones: every answer is one that the document describes.

KNS_SCHEMATHESIS_CASES is the least number of requests over all operations. Without it the boundaries of each parameter
are tried and few random requests, so that the quick gate stays quick. The requests are the same in every run.
"""

import json
import math
import os
from collections import Counter
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    CoveragePhaseConfig,
    ExamplesPhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kns.api.openapi import build_document
from kns.model.job import JobState
from kns.model.output import JobOutput
from tests.api.client import Api
from tests.api.test_openapi import PENDING
from tests.builders import a_job, a_submission, an_appdef

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WANTED = int(os.environ.get("KNS_SCHEMATHESIS_CASES") or 0)
QUICK_EXAMPLES = 2

USERS = ("user1", "user1", "user1", "admin1", "lead1", "payer1", "idle1")
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
# What a generator would hardly hit upon, by the name of a parameter.
HITS: dict[str, tuple[Any, ...]] = {
    "number": (*range(1, len(JOBS) + 1), "4", "99"),
    "name": ("hello", "secret", "kns-small", "20260105141530-00004-hello-user1_s1"),
    "vault": ("data", "ephemeral"),
    "path": ("/",),
    "action": ("reboot",),
    "completed": ("true",),
    "all": ("true",),
    "label": ("de",),
}
BODIES: dict[str, dict[str, Any]] = {
    "submit": a_submission(),
    "batch": {**a_submission(), "container": {}},
    "validate": an_appdef(),
}

sent: Counter[str] = Counter()
answered: dict[str, set[int]] = {}


def _served_document() -> dict[str, Any]:
    document = build_document()
    paths = {path: item for path, item in document["paths"].items() if path.rpartition("/")[2] not in PENDING}
    return {**document, "paths": paths}


def _parse(document: dict[str, Any]) -> Any:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    varied = [each for each in operations if each.get("parameters") or each.get("requestBody")]
    project = ProjectConfig(
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
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig(projects=ProjectsConfig(default=project)))


schema = _parse(_served_document())


KEPT = [
    *(builder.numbered(number).build() for number, builder in enumerate(JOBS, start=1)),
    a_job().numbered(10**6).not_accepted().build(),
]


@pytest.fixture(scope="module")
def api() -> Api:
    api = Api()
    for job in KEPT:
        api.outputs.write(job, JobOutput(log="[1/1] web, attempt 1\n"))
    return api


def _restore(api: Api) -> None:
    """A job that an earlier request asked to stop is as if that had not been; what limits requests has forgotten."""
    for job in KEPT:
        stored = api.jobs.get(job.record)
        if stored is None or stored.spec != job.spec:
            api.jobs.add(job)
            api.tokens.ensure(job)
    api.clock.advance(3600)


def _aim(case: schemathesis.Case) -> None:
    """
    Most requests get the credentials of a user and something that exists; the rest stays as generated.

    What is chosen hangs on the request alone, so that it is the same whenever that request is tried.
    """
    choice = [case.operation.label, case.query, case.body]
    dice = crc32(json.dumps(choice, sort_keys=True, default=lambda value: type(value).__name__).encode())
    if dice % 8 == 0:
        return
    route = case.operation.path.rpartition("/")[2]
    user = USERS[dice // 8 % len(USERS)]
    if isinstance(case.body, dict) and route in BODIES:
        good = BODIES[route]
        case.body = {**case.body, **good} if dice % 3 == 0 else {**good, **case.body} if dice % 3 == 1 else case.body
        if "user" in good:
            case.body = {**case.body, "user": {"username": user, "apikey": f"key-{user}"}}
    query = dict(case.query or {})
    query |= {"username": user, "apikey": f"key-{user}"}
    for name, values in HITS.items():
        if route not in BODIES and _takes(case, name) and dice // 64 % 4:
            query[name] = values[dice // 256 % len(values)]
    if "number" in query and dice // 64 % 4 != 3:
        query.pop("name", None)
    case.query = query


def _takes(case: schemathesis.Case, name: str) -> bool:
    """Whether the operation has that parameter, in the query or in a form."""
    if any(parameter.name == name for parameter in case.operation.query):
        return True
    return any(name in form.definition["schema"].get("properties", {}) for form in case.operation.body)


@schema.parametrize()
def test_every_answer_is_described(case: schemathesis.Case, api: Api) -> None:
    _restore(api)
    _aim(case)
    response = case.call_and_validate(app=api.app, checks=CHECKS)
    sent[case.operation.label] += 1
    answered.setdefault(case.operation.label, set()).add(response.status_code)


def test_the_requests_were_many_and_met_success() -> None:
    """Else the test above would have looked at refusals only."""
    assert sent.total() >= WANTED
    succeeding = {
        f"{method.upper()} {path}"
        for path, item in _served_document()["paths"].items()
        for method, operation in item.items()
        if "200" in operation["responses"]
    }
    assert {label for label, statuses in answered.items() if 200 in statuses} == succeeding
