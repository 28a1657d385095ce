"""`submit`: what is stored, and every error. A refused submission stores nothing and uses no number."""

import json
from typing import Any

import pytest

from kns.adapters.bearer import RealmTokens
from kns.model.errors import AlreadyExistsError, RefusedError, UnavailableError
from tests.api.client import Api, as_json, assert_refused
from tests.builders import a_catalog, a_command, a_submission, an_app, an_appdef
from tests.fakes.stores import StaticCatalog
from tests.tokens import a_token, public_pem

MALFORMED = "Missing or Malformed API Syntax"


def test_an_accepted_submission_is_stored_before_the_answer(api: Api) -> None:
    answer = api.submit(a_submission(job_label="demo", job_project="alpha", queue="any"))
    (job,) = api.jobs.list_jobs()
    accepted = job.spec.accepted
    assert accepted is not None
    assert (answer.status_code, answer.content) == (200, as_json({"name": accepted.name, "number": accepted.number}))
    assert accepted.name.startswith("20260105141530-")
    assert accepted.name.endswith("-hello-user1_s1")
    assert (accepted.payer, accepted.command, accepted.machine.mc_name) == ("payer1", "Hello", "kns-small")
    assert (job.spec.user, job.spec.label, job.spec.project) == ("user1", "demo", "alpha")
    assert job.spec.submission["queue"] == "any"
    assert "key-user1" not in str(job)


def test_numbers_rise_and_start_where_the_store_says(api: Api) -> None:
    assert [api.submit(a_submission()).json()["number"] for _ in range(3)] == [1, 2, 3]


def test_old_clients_send_numbers_as_strings_and_get_integers_back(api: Api) -> None:
    api.submit(a_submission(machine={"type": "kns-small", "nodes": "2"}))
    entry = api.get("jobs").json()["1"]
    assert (entry["job_mc_scale"], entry["job_api_submission"]["machine"]["nodes"]) == (2, 2)


@pytest.mark.proves("submit", "Only administrators may set a priority above normal; others get normal")
@pytest.mark.parametrize(("user", "shown"), [("user1", "normal"), ("lead1", "normal"), ("admin1", "highest")])
def test_a_priority_above_normal_is_for_administrators(api: Api, user: str, shown: str) -> None:
    assert api.submit(a_submission(user=user, job_priority="highest")).status_code == 200
    assert api.get("jobs", as_user=user).json()["1"]["job_api_submission"]["job_priority"] == shown


@pytest.mark.proves("submit", "The command may be omitted if the app has only one")
def test_the_only_command_may_be_left_out(api: Api) -> None:
    assert api.submit(a_submission(application=None)).status_code == 200
    entry = api.get("jobs").json()["1"]
    assert (entry["job_command"], entry["job_api_submission"]["application"]["command"]) == ("Hello", "Hello")


@pytest.mark.parametrize("part", ["application", "vault", "user"])
def test_a_submission_is_shown_with_the_keys_that_the_document_promises(part: str) -> None:
    api = Api(bearer=RealmTokens(public_pem()))
    body = {key: value for key, value in a_submission().items() if key != "user"}
    assert api.submit({**body, part: None}, authorization=f"Bearer {a_token()}").status_code == 200
    shown = api.get("jobs").json()["1"]["job_api_submission"]
    assert (shown["app"], shown["user"], shown["machine"]) == (
        "hello", {"username": "user1"}, {"type": "kns-small", "nodes": 1},
    )  # fmt: skip
    assert shown["application"] == {"command": "Hello", "parameters": {}}


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json", None])
def test_the_content_type_of_a_submission_does_not_matter(api: Api, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = api.call("POST", "/jarvice/submit", content=json.dumps(a_submission()), headers=headers)
    assert answer.status_code == 200


WRONG_SHAPE: list[tuple[str, Any]] = [
    ("a list", []),
    ("a text", "hello"),
    ("null", None),
    ("nothing in it", {}),
    ("no app", a_submission(app=None)),
    ("app is a number", a_submission(app=7)),
    ("app is empty", a_submission(app="")),
    ("no machine", a_submission(machine=None)),
    ("machine is a name", a_submission(machine="kns-small")),
    ("machine without type", a_submission(machine={"nodes": 1})),
    ("nodes is a word", a_submission(machine={"type": "kns-small", "nodes": "two"})),
    ("nodes is zero", a_submission(machine={"type": "kns-small", "nodes": 0})),
    ("nodes is a fraction", a_submission(machine={"type": "kns-small", "nodes": 1.5})),
    ("nodes is true", a_submission(machine={"type": "kns-small", "nodes": True})),
    ("machine without a name", a_submission(machine={"type": "", "nodes": 1})),
    ("application is a list", a_submission(application=[])),
    ("parameters is a list", a_submission(application={"command": "Hello", "parameters": []})),
    ("label too long", a_submission(job_label="x" * 256)),
    ("label is a number", a_submission(job_label=5)),
    ("unknown priority", a_submission(job_priority="urgent")),
    ("no user", {**a_submission(), "user": None}),
    ("user key absent", {key: value for key, value in a_submission().items() if key != "user"}),
    ("user is a name", {**a_submission(), "user": "user1"}),
    ("user without key", {**a_submission(), "user": {"username": "user1"}}),
    ("key is a number", {**a_submission(), "user": {"username": "user1", "apikey": 5}}),
    ("wrong shape before wrong key", {**a_submission(app=None), "user": {"username": "user1", "apikey": "x"}}),
]


@pytest.mark.parametrize(("sentence", "body"), WRONG_SHAPE, ids=[row[0] for row in WRONG_SHAPE])
def test_a_body_of_the_wrong_shape(api: Api, sentence: str, body: Any) -> None:
    assert_refused(api.submit(body), 400, MALFORMED)
    assert api.jobs.writes == []


NOT_GIVEN: list[dict[str, Any]] = [
    {key: empty} for key in ("application", "vault", "job_label", "job_project", "job_priority") for empty in (None, "")
] + [
    {part: {**needed, key: empty}}
    for part, needed, keys in (
        ("application", {"command": "Hello"}, ("parameters", "walltime")),
        ("application", {}, ("command",)),
        ("machine", {"type": "kns-small"}, ("nodes",)),
        ("vault", {}, ("name",)),
        ("vault", {"name": "data"}, ("readonly", "force")),
    )
    for key in keys
    for empty in (None, "")
]


@pytest.mark.proves(
    "wire",
    '`null` and `""` for an optional key of a submission count as absent; so does a `vault` with such a `name`',
)
@pytest.mark.parametrize("changes", NOT_GIVEN, ids=str)
def test_null_and_the_empty_text_are_as_if_the_key_were_not_there(api: Api, changes: dict[str, Any]) -> None:
    """The stored submission is the body as it came."""
    ((part, given),) = changes.items()
    kept = {key: value for key, value in (given or {}).items() if value not in (None, "")}
    assert api.submit({**a_submission(), part: kept or None}).status_code == 200
    assert api.submit({**a_submission(), **changes}).status_code == 200
    without, with_empty = (
        job.spec.model_copy(update={"submission": {}, "accepted": None}) for job in api.jobs.list_jobs()
    )
    assert without == with_empty


def _an_uploader() -> StaticCatalog:
    parameters = {"file": {"type": "UPLOAD", "target": "x"}, "text": {"type": "STR"}, "size": {"type": "INT"}}
    app = an_app(an_appdef(commands={"Hello": a_command(parameters=parameters)}))
    return StaticCatalog(a_catalog(apps={"hello": app}))


def test_large_parameters_are_stored_beside_the_record_and_shown_as_null() -> None:
    """Each replica keeps all records in memory for weeks."""
    api = Api(catalog=_an_uploader())
    given = {"file": "QUJD" * 50_000, "text": "x" * 3000, "size": 5}
    assert api.submit(a_submission(application={"command": "Hello", "parameters": given})).status_code == 200
    (job,) = api.jobs.list_jobs()
    assert job.spec.parameters == {"size": 5}
    assert api.jobs.inputs.read(job).uploads == {"file": given["file"]}
    assert [value.text for value in api.jobs.inputs.read(job).parameters] == ["/opt/x", "x" * 3000, "5"]
    shown = api.get("jobs").json()["1"]["job_api_submission"]
    assert shown["application"]["parameters"] == {"file": None, "text": None, "size": 5}


def test_what_no_client_reads_is_not_stored(api: Api) -> None:
    """One account made both replicas end for lack of memory with submissions like this one."""
    assert api.submit(a_submission(junk=[{"": 0}] * 9000, licenses="a:1", test_comment="x" * 5000)).status_code == 200
    (job,) = api.jobs.list_jobs()
    shown = api.get("jobs").json()["1"]["job_api_submission"]
    assert shown.keys().isdisjoint({"junk", "test_comment"})
    assert shown["licenses"] == "a:1"
    assert len(str(job)) < 8000


WRONG_CREDENTIALS: list[tuple[str, dict[str, str], str]] = [
    ("wrong key", {"username": "user1", "apikey": "key-user2"}, "Not Authorized"),
    ("unknown user", {"username": "nobody", "apikey": "key-nobody"}, "Not Authorized"),
    ("no billing", {"username": "idle1", "apikey": "key-idle1"}, "Account billing not active"),
    ("no billing, and a wrong key", {"username": "idle1", "apikey": "key-user1"}, "Not Authorized"),
]


@pytest.mark.parametrize(("sentence", "user", "error"), WRONG_CREDENTIALS, ids=[row[0] for row in WRONG_CREDENTIALS])
def test_wrong_credentials_come_before_wrong_contents(
    api: Api, sentence: str, user: dict[str, str], error: str
) -> None:
    assert_refused(api.submit({**a_submission(app="none"), "user": user}), 401, error)
    assert api.jobs.writes == []


UNACCEPTABLE: list[tuple[str, dict[str, Any], str]] = [
    ("machine for classic apps", a_submission(machine={"type": "kns-classic"}),
     "machine.type: 'kns-classic' lacks appkind=kns, so it runs no nested jobs"),
    ("too many nodes", a_submission(machine={"type": "kns-small", "nodes": 5}),
     "machine.nodes: 'kns-small' has at most 4"),
    ("a label that no environment holds", a_submission(job_label="a\0b"), "job_label: must not contain a zero byte"),
    ("foreign project", a_submission(job_project="beta"), "job_project: user1 is not a member of 'beta'"),
    ("a parameter that the command has not", a_submission(application={"parameters": {"x": 1}}),
     "application.parameters.x: is not a parameter of this command; its parameters: none"),
    ("odd walltime", a_submission(application={"command": "Hello", "walltime": "8 hours"}),
     "application.walltime: '8 hours' is not HH:MM:SS"),
    ("walltime with a line break", a_submission(application={"command": "Hello", "walltime": "8\nhours"}),
     "application.walltime: '8\\nhours' is not HH:MM:SS"),
]  # fmt: skip


@pytest.mark.proves(
    "submit",
    "A key of `application.parameters` that the command does not have gets 400; otherwise a misspelt key would be"
    " lost silently",
)
@pytest.mark.proves(
    "submit",
    "A request for something unavailable gets 400 with the published text, then the key and the reason in one line",
)
@pytest.mark.parametrize(("sentence", "body", "problem"), UNACCEPTABLE, ids=[row[0] for row in UNACCEPTABLE])
def test_contents_that_are_unacceptable(api: Api, sentence: str, body: dict[str, Any], problem: str) -> None:
    assert_refused(api.submit(body), 400, f"{MALFORMED}: {problem}")
    assert api.jobs.writes == []
    assert api.jobs.allot_number() == 1


@pytest.mark.proves("objects", "The virtual cluster is plain Kubernetes, of the minor version that the AppDef names")
def test_a_kubernetes_version_that_is_not_here(api: Api) -> None:
    old = an_appdef(commands={"Hello": a_command(nested={"kubernetes_version": "v1.20"})})
    api.catalog.catalog = a_catalog(apps={"old": an_app(old)})
    assert_refused(
        api.submit(a_submission(app="old")),
        400,
        f"{MALFORMED}: nested_kubernetes.kubernetes_version: v1.20 is not supported here; supported: v1.36, v1.35",
    )


def test_several_commands_and_none_chosen(api: Api) -> None:
    api.catalog.catalog = a_catalog(apps={"two": an_app(an_appdef(commands={"A": a_command(), "B": a_command()}))})
    body = a_submission(app="two", application={})
    assert_refused(api.submit(body), 400, f"{MALFORMED}: application.command: choose one of A, B")


def test_a_private_app_is_there_for_its_owner(api: Api) -> None:
    assert api.submit(a_submission(app="secret")).status_code == 200


@pytest.mark.parametrize("method", ["allot_number", "create"])
@pytest.mark.parametrize(
    "error", [UnavailableError("no answer"), RefusedError("schema: no"), AlreadyExistsError("taken")]
)
def test_a_store_that_fails_is_said_so(api: Api, method: str, error: Exception) -> None:
    api.jobs.faults[method] = error
    assert_refused(api.submit(a_submission()), 500, "Unable to create Job Submission")


def test_a_submission_that_no_record_can_hold(api: Api) -> None:
    body = a_submission(application={"command": "Hello", "parameters": {"file": "x" * 600_000}})
    size = len(json.dumps(body, separators=(",", ":")))
    assert_refused(api.submit(body), 400, f"{MALFORMED}: the submission has {size} bytes, a job holds at most 524288")


def test_parameters_that_no_secret_of_the_job_can_hold(api: Api) -> None:
    """Packed they have some hundred bytes. The scripts get each four times: two variables, and both again in a file."""
    kinds = {f"p{number}": {"type": "STR", "variable": True} for number in range(8)}
    api.catalog.catalog = a_catalog(apps={"hello": an_app(an_appdef(commands={"Hello": a_command(parameters=kinds)}))})
    parameters = {key: "x" * (60_000 + (key == "p5")) for key in kinds}
    answer = api.submit(a_submission(application={"command": "Hello", "parameters": parameters}))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        f"{MALFORMED}: application.parameters.p5: is the longest of values that need "
    )
    assert api.jobs.writes == []


def test_parameters_at_the_edge_of_what_json_can_say_are_kept(api: Api) -> None:
    parameters = {"big": 2**63 - 1, "text": "\u0001\u2028\U0001f600", "float": 1e300, "none": None}
    kinds = {"big": {"type": "INT"}, "text": {"type": "STR"}, "float": {"type": "FLOAT"}}
    api.catalog.catalog = a_catalog(apps={"hello": an_app(an_appdef(commands={"Hello": a_command(parameters=kinds)}))})
    assert api.submit(a_submission(application={"command": "Hello", "parameters": parameters})).status_code == 200
    entry = api.get("jobs").json()["1"]
    assert entry["job_api_submission"]["application"] == {"command": "Hello", "parameters": parameters}
    (job,) = api.jobs.list_jobs()
    assert "parameters" not in job.spec.submission["application"], "the record holds them once"


BATCH = {"container": {"image": "example.org/x"}, "user": {"username": "user1", "apikey": "key-user1"}}


@pytest.mark.proves("routes", "`batch` is refused: a container with a script is not a nested app")
@pytest.mark.parametrize(
    ("sentence", "body", "status", "error"),
    [
        ("a right one", BATCH, 400, "Container cannot create Application"),
        ("a container by name", {**BATCH, "container": "x"}, 400, "Container cannot create Application"),
        ("a wrong key", {**BATCH, "user": {"username": "user1", "apikey": "x"}}, 401, "Not Authorized"),
        ("no billing", {**BATCH, "user": {"username": "idle1", "apikey": "key-idle1"}}, 401,
         "Account billing not active"),
        ("no user", {"container": "x"}, 400, MALFORMED),
        ("no container", {"user": BATCH["user"]}, 400, MALFORMED),
        ("a list", [], 400, MALFORMED),
    ],
)  # fmt: skip
def test_a_batch_is_checked_and_refused(api: Api, sentence: str, body: Any, status: int, error: str) -> None:
    assert_refused(api.call("POST", "/jarvice/batch", json=body), status, error)
    assert api.jobs.writes == []


@pytest.mark.parametrize("body", [b"", b"container=x", b"{"])
def test_a_batch_that_is_no_json(api: Api, body: bytes) -> None:
    assert_refused(api.call("POST", "/jarvice/batch", content=body), 400, MALFORMED)
