"""`kns posit`: rights, tokens, preflight, run."""

import base64
import json
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from kns.cli.exits import KnsGroup
from kns.cli.posit_command import add_posit
from kns.launcher.config.profiles import ProfileFile
from kns.launcher.config.settings import Settings
from kns.launcher.ports import Options
from kns.launcher.process import connect_cluster
from kns.launcher.tools import commands
from kns.launcher.tools.preflight import check_cluster, check_files, check_nested, check_token
from kns.launcher.tools.roles import DOCUMENTED, MINIMAL, RoleKind, build_rbac
from kns.launcher.tools.session import PluginProcess, Sinks, run_job
from kns.launcher.tools.tokens import (
    ensure_secret_token,
    parse_duration,
    read_expiry,
    request_token,
    write_token,
)
from kns.model.errors import (
    AlreadyExistsError,
    ForbiddenError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from kns.model.findings import Severity
from tests.launcher.config.conftest import Machine
from tests.launcher.kns_server import APP as APP_OF_KNS
from tests.launcher.kns_server import KnsServer, write_credentials

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def web_token(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


class FakeApi:
    """An API server as the tools ask it. `answers` maps (method, path) to an answer, an error, or a list of them."""

    def __init__(self, answers: dict[tuple[str, str], Any] | None = None) -> None:
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/version"): {"gitVersion": "v1.34.1"},
            ("POST", "/apis/batch/v1/namespaces/rstudio/jobs"): {},
            ("GET", "/apis/metrics.k8s.io/v1beta1"): {},
            **(answers or {}),
        }
        self.denied: set[tuple[str, str]] = set()  # (verb, resource)
        self.calls: list[tuple[str, str, Any, Any]] = []

    def request(self, method: str, path: str, *, body: Any = None, query: Any = None) -> Any:
        self.calls.append((method, path, body, query))
        if path.endswith("selfsubjectaccessreviews") and (method, path) not in self.answers:
            wanted = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (wanted["resource"], wanted["subresource"])))
            return {"status": {"allowed": (wanted["verb"], resource) not in self.denied}}
        answer = self.answers[method, path]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


# Rights


def test_p36_the_older_binding_says_what_it_gives_to_jobs() -> None:
    text = commands.rbac("admin", namespace="jobs", account="me", with_nodes=False)
    assert text.startswith("# With this binding each account of the namespace jobs may do everything in it")
    assert not commands.rbac("minimal", namespace="jobs", account="me", with_nodes=False).startswith("#")


def test_p34_the_documented_role_is_that_of_the_documents() -> None:
    role = next(each for each in build_rbac(RoleKind.DOCUMENTED, namespace="rstudio", account="job-launcher")
                if each["kind"] == "Role")  # fmt: skip

    verbs = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in role["rules"]}
    everything = {"get", "create", "update", "patch", "watch", "list", "delete"}
    assert verbs == {
        ("", "pods"): everything,
        ("", "pods/log"): everything,
        ("", "pods/attach"): everything,
        ("", "pods/exec"): everything,
        ("", "events"): {"watch"},
        ("", "services"): {"create", "get", "watch", "list", "delete"},
        ("batch", "jobs"): everything,
        ("metrics.k8s.io", "pods"): {"get"},
    }
    assert role["metadata"] == {"name": "job-launcher-role", "namespace": "rstudio"}


def test_p40_the_minimal_role_is_part_of_the_documented_one() -> None:
    for resource, verbs in MINIMAL.items():
        assert set(verbs) <= set(DOCUMENTED[resource]), resource


def test_p36_the_older_binding() -> None:
    objects = build_rbac(RoleKind.ADMIN, namespace="rstudio", account="job-launcher", with_nodes=False)

    assert objects[-1] == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "job-launcher-admin", "namespace": "rstudio"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {"kind": "Group", "name": "system:serviceaccounts:rstudio", "apiGroup": "rbac.authorization.k8s.io"}
        ],
    }


@pytest.mark.parametrize("role", ["minimal", "documented", "admin"])
def test_p37_rbac_prints_objects_that_refer_to_each_other(role: str) -> None:
    objects = list(yaml.safe_load_all(commands.rbac(role, namespace="jobs", account="me", with_nodes=True)))

    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for each in objects:
        if each["kind"].endswith("Binding") and each["roleRef"]["name"] != "cluster-admin":
            assert (each["roleRef"]["kind"], each["roleRef"]["name"]) in names
        assert each["metadata"].get("namespace", "jobs") == "jobs"
    assert [each["kind"] for each in objects][:2] == ["Namespace", "ServiceAccount"]


# Tokens


@pytest.mark.parametrize(("text", "seconds"), [("9h", 32400), ("1h30m", 5400), ("600s", 600), ("30d", 2_592_000)])
def test_p19_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "9", "h", "9 h", "-1h", "1s", "11000d", "1.5h", "9h;"])
def test_p19_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_duration(text)


def test_p19_a_token_that_expires() -> None:
    path = "/api/v1/namespaces/rstudio/serviceaccounts/job-launcher/token"
    api = FakeApi({("POST", path): {"status": {"token": "a.b.c", "expirationTimestamp": "2026-11-28T21:00:00Z"}}})

    token = request_token(api, namespace="rstudio", account="job-launcher", duration_s=32400)

    assert (token.text, token.expires) == ("a.b.c", datetime(2026, 11, 28, 21, tzinfo=UTC))
    assert api.calls[0][2]["spec"] == {"expirationSeconds": 32400}


ACCOUNT = ("GET", "/api/v1/namespaces/rstudio/serviceaccounts/job-launcher")
SECRETS = "/api/v1/namespaces/rstudio/secrets"
SECRET = ("GET", f"{SECRETS}/job-launcher-token")
OWN = {
    "type": "kubernetes.io/service-account-token",
    "metadata": {"annotations": {"kubernetes.io/service-account.name": "job-launcher"}},
}
FILLED = {**OWN, "data": {"token": base64.b64encode(b"a.b.c").decode()}}


@pytest.mark.parametrize(
    ("created", "reads", "sleeps"),
    [
        ({}, [OWN, FILLED], 1),
        ({}, [NotFoundError("gone"), OWN, FILLED], 2),
        (AlreadyExistsError("exists"), [FILLED, FILLED], 0),
    ],
)
def test_p19_a_token_that_does_not_expire(created: Any, reads: list[Any], sleeps: int) -> None:
    api = FakeApi({ACCOUNT: {}, ("POST", SECRETS): created, SECRET: reads})
    slept: list[float] = []

    token = ensure_secret_token(api, namespace="rstudio", account="job-launcher", sleep=slept.append)

    assert (token.text, token.expires) == ("a.b.c", None)
    assert len(slept) == sleeps


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({ACCOUNT: NotFoundError("no such account")}, "no such account"),
        ({("POST", SECRETS): AlreadyExistsError("x"), SECRET: {"type": "Opaque", "metadata": {}}}, "is not a token of"),
        ({SECRET: OWN}, "has no token; is the token controller"),
        ({("POST", SECRETS): ForbiddenError("no right")}, "no right"),
    ],
)
def test_p19_no_token(answers: dict[tuple[str, str], Any], said: str) -> None:
    api = FakeApi({ACCOUNT: {}, ("POST", SECRETS): {}, SECRET: FILLED, **answers})

    with pytest.raises(KnsError, match=said):
        ensure_secret_token(api, namespace="rstudio", account="job-launcher", sleep=lambda seconds: None)


def test_p19_the_file_is_private_and_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    old = path.open()

    write_token(path, "new", owner=(os.getuid(), os.getgid()))

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert old.read() == "old", "a reader in between sees the old token whole"
    old.close()
    assert list(tmp_path.iterdir()) == [path]


def test_p19_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(KnsError, match=r"cannot be written to .*/none/token: No such file"):
        write_token(tmp_path / "none" / "token", "x", owner=None)


# Preflight


@pytest.mark.parametrize(
    ("token", "severity", "said"),
    [
        ("opaque", Severity.OK, "it says nothing of an end"),
        ("a.!!.c", Severity.OK, "it says nothing of an end"),
        (web_token(sub="x"), Severity.OK, "it says nothing of an end"),
        (web_token(exp=1e300), Severity.OK, "it says nothing of an end"),
        (web_token(exp=(NOW + timedelta(days=30)).timestamp()), Severity.OK, "it expires at 2026-12-28 12:00 UTC"),
        (web_token(exp=(NOW + timedelta(hours=1)).timestamp()), Severity.WARNING, "it expires at 2026-11-28 13:00 UTC"),
        (web_token(exp=NOW.timestamp() - 1), Severity.FAULT, "it expired at 2026-11-28 11:59 UTC"),
    ],
)
def test_p39_the_age_of_the_token(token: str, severity: Severity, said: str) -> None:
    finding = check_token(token, NOW)

    assert (finding.severity, finding.said) == (severity, said)


def test_the_expiry_of_a_list_is_none() -> None:
    assert read_expiry(f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c") is None


def judge(api: FakeApi) -> dict[str, tuple[str, str]]:
    return {each.check: (str(each.severity), each.said) for each in check_cluster(api, "rstudio")}


def test_p39_a_complete_cluster() -> None:
    api = FakeApi()

    found = judge(api)

    assert {severity for severity, _ in found.values()} == {"ok"}
    assert found["Kubernetes API"] == ("ok", "it answers, version v1.34.1")
    assert found["right services"] == ("ok", "create, list, watch, delete")
    dry = next(call for call in api.calls if call[1].endswith("/jobs"))
    assert dry[3] == {"dryRun": "All"}, "nothing is created"


@pytest.mark.parametrize(
    ("answers", "denied", "check", "expected"),
    [
        ({("GET", "/version"): UnavailableError("no route")}, set(), "Kubernetes API",
         ("fault", "it does not answer: no route")),
        ({("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"): UnauthorizedError("401")}, set(),
         "Kubernetes API", ("fault", "it does not accept the token")),
        ({("POST", "/apis/batch/v1/namespaces/rstudio/jobs"): NotFoundError("404")}, set(), "namespace rstudio",
         ("fault", "does not exist")),
        ({("POST", "/apis/batch/v1/namespaces/rstudio/jobs"): ForbiddenError("403")}, set(), "namespace rstudio",
         ("fault", "refuses Jobs: 403")),
        ({("POST", "/apis/batch/v1/namespaces/rstudio/jobs"): RefusedError("quota")}, set(), "namespace rstudio",
         ("warning", "does not accept a plain Job: quota")),
        ({}, {("create", "pods/exec")}, "right pods/exec", ("fault", "missing: create")),
        ({}, {("watch", "jobs"), ("patch", "jobs")}, "right jobs.batch", ("fault", "missing: patch, watch")),
        ({}, {("get", "nodes")}, "right nodes", ("warning", "missing: get")),
        ({("GET", "/apis/metrics.k8s.io/v1beta1"): NotFoundError("404")}, set(), "metrics",
         ("warning", "the cluster has no metrics API")),
        ({("GET", "/apis/metrics.k8s.io/v1beta1"): UnavailableError("503")}, set(), "metrics",
         ("warning", "the metrics API does not answer: 503")),
    ],
)  # fmt: skip
def test_p39_each_missing_item_is_named(
    answers: dict[tuple[str, str], Any], denied: set[tuple[str, str]], check: str, expected: tuple[str, str]
) -> None:
    api = FakeApi(answers)
    api.denied = denied

    assert judge(api)[check] == expected


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def settings(machine: Machine, profiles: str, more: str = "") -> Settings:
    machine.write(profiles, "launcher.kubernetes.profiles.conf")
    scratch = machine.folder / "scratch"
    machine.write(
        f"api-url=https://host\nauth-token=a.b.c\nscratch-path={scratch}\nlogging-dir={machine.folder}\n{more}"
    )
    return machine.read()


@pytest.mark.parametrize(
    ("profiles", "found"),
    [
        ("", ("ok", "users choose any image")),
        ("[*]\ncontainer-images=r-session:4.5,host:5000/a/b@sha256:" + "0" * 64, ("ok", "2 names are well-formed")),
        ("[*]\ndefault-container-image=R Session", ("fault", "not names of images: 'R Session' of [*]")),
        ("[ann]\nallow-unknown-images=0", ("fault", "[ann] refuses unknown images and lists none, so no job can run")),
    ],
)
def test_p39_images(machine: Machine, profiles: str, found: tuple[str, str]) -> None:
    findings = {each.check: (str(each.severity), each.said) for each in check_files(settings(machine, profiles))}

    assert findings["images"] == found


def test_p39_templates_and_folders_and_warnings(machine: Machine) -> None:
    read = settings(machine, "", "use-templating=1\nverify-ssl-certs=0\n")
    (machine.folder / "scratch").mkdir()

    findings = [(each.check.rpartition("/")[2], str(each.severity)) for each in check_files(read)]

    assert ("template job.tpl", "warning") in findings
    assert ("scratch-path", "ok") in findings
    assert ("launcher.kubernetes.conf:6 verify-ssl-certs", "warning") in findings


# Run, with a plugin of a few lines

PLUGIN = """
import json, struct, sys
def read():
    head = sys.stdin.buffer.read(4)
    if not head: sys.exit(0)
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
def write(**message):
    data = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data); sys.stdout.buffer.flush()
write(messageType=0, requestId=0, responseId=0)
refuse, code, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
while True:
    m = read(); n = m["requestId"]; kind = m["messageType"]
    if kind == 1: write(messageType=1, requestId=n, responseId=0, version=m["version"])
    if kind == 2 and refuse: write(messageType=-1, requestId=n, responseId=0, errorCode=2, errorMessage=refuse)
    elif kind in (2, 3):
        job = {"id": "j-1", "status": "Pending"} | ({"exitCode": code} if kind == 3 and end == "Finished" else {})
        write(messageType=2, requestId=n, responseId=1, jobs=[job])
    if kind == 4:
        for status in ("Pending", "Running"): write(messageType=3, requestId=0, responseId=2, id="j-1", status=status)
        write(messageType=3, requestId=0, responseId=3, id="j-1", status=end, statusMessage="because")
    if kind == 6:
        write(messageType=5, requestId=n, responseId=4, seqId=1, complete=False, output="to out", outputType="stdout")
        write(messageType=5, requestId=n, responseId=5, seqId=2, complete=False, output="to err", outputType="stderr")
        if end != "never": write(messageType=5, requestId=n, responseId=6, seqId=3, complete=True)
"""

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)

    def start(*, refuse: str = "", code: int = 0, end: str = "Finished", limit_s: float = 60) -> tuple[int, list[str]]:
        lines: list[str] = []
        sinks = Sinks(
            out=lambda text: lines.append(f"out {text}"),
            err=lambda text: lines.append(f"err {text}"),
            note=lines.append,
        )
        with PluginProcess([sys.executable, str(path), refuse, str(code), end]) as plugin:
            return run_job(plugin, {"name": "x", "exe": "true"}, user="ann", sinks=sinks, limit_s=limit_s), lines

    return start


def test_run_shows_states_and_output_and_ends_with_the_jobs_exit_code(run: Run) -> None:
    code, lines = run(code=3)

    assert code == 3
    assert lines == [
        "job j-1: Pending", "job j-1: Pending", "job j-1: Running", "job j-1: Finished (because)", "out to out",
        "err to err",
    ]  # fmt: skip


def test_run_of_a_job_that_fails(run: Run) -> None:
    code, lines = run(end="Failed")

    assert code == 1
    assert "job j-1: Failed (because)" in lines


def test_run_of_a_job_that_is_refused(run: Run) -> None:
    with pytest.raises(KnsError, match="error 2: image x is not allowed"):
        run(refuse="image x is not allowed")


def test_run_does_not_wait_longer_than_asked(run: Run) -> None:
    with pytest.raises(KnsError, match="did not end within 1 s; it goes on"):
        run(end="never", limit_s=1)


def test_run_of_a_plugin_that_ends(tmp_path: Path) -> None:
    with (
        PluginProcess([sys.executable, "-c", "import sys; sys.exit(4)"]) as plugin,
        pytest.raises(KnsError, match="the plugin ended: exit status 4"),
    ):
        run_job(plugin, {}, user="ann", sinks=Sinks(print, print, print))


def test_run_of_a_program_that_does_not_exist() -> None:
    with pytest.raises(KnsError, match="/no/program cannot be started: No such file"):
        PluginProcess(["/no/program"])


# The command line

APP = typer.Typer(cls=KnsGroup)
add_posit(APP, lambda: commands)


def invoke(*argv: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, ["posit", *argv])
    return result.exit_code, result.output


def test_the_commands_are_part_of_kns(tmp_path: Path) -> None:
    assert invoke("templates", "generate", "--scratch-path", str(tmp_path)) == (
        0, f"wrote {tmp_path}/job.tpl\nwrote {tmp_path}/service.tpl\n"
    )  # fmt: skip
    assert invoke("templates", "validate", "--scratch-path", str(tmp_path))[0] == 0
    assert invoke("templates", "rewrite")[0] == 2
    assert invoke("rbac", "--role", "root")[0] == 2
    assert yaml.safe_load_all(invoke("rbac")[1])
    status, said = invoke("preflight", "-o", f"config-file={tmp_path}/none.conf")
    assert status == 1
    assert f"{tmp_path}/none.conf: cannot be read" in said
    assert invoke("run", "--program", "/no/program", "true") == (
        1, "kns: the program /no/program is not on the PATH; give it by --program\n"
    )  # fmt: skip
    assert invoke("token", "--duration", "1s", "--kubeconfig", str(tmp_path / "none"))[0] == 1


def test_preflight_asks_kns_for_nested_jobs(tmp_path: Path) -> None:
    server = KnsServer()
    try:
        credentials = Path(write_credentials(tmp_path))
        given = Options(nested_url=server.url, nested_credentials_path=credentials, nested_app=APP_OF_KNS)
        settings = Settings(given, ProfileFile(), tmp_path, tmp_path, "WARN")

        def ask(**changes: Any) -> tuple[Severity, str]:
            (finding,) = check_nested(replace(settings, options=replace(given, **changes)))
            return finding.severity, finding.said

        assert ask() == (Severity.OK, "kns answers, machines: kns-gpu, kns-large, kns-small")
        assert ask(nested_app="other") == (Severity.FAULT, "kns has no app other, or not for this account")
        assert ask(nested_machine="classic") == (Severity.FAULT, "kns has no machine classic for nested jobs")
        assert "does not answer" in ask(nested_url="http://127.0.0.1:9")[1]
        assert "cannot be read" in ask(nested_credentials_path=tmp_path / "none")[1]
        assert list(check_nested(replace(settings, options=Options()))) == []
    finally:
        server.close()


def test_the_program_of_a_virtual_environment_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is seldom on the PATH of the administrator."""
    program = tmp_path / commands.PROGRAM
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    sinks = Sinks(out=print, err=print, note=print)

    def run() -> None:
        commands.run({}, user="ana", program=None, arguments=(), sinks=sinks, limit_s=1.0)

    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(KnsError, match="the plugin ended"):
        run()
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(KnsError, match="is not on the PATH"):
        run()


def test_connecting_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start of the plugin and each preflight would leave one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = connect_cluster(Options(api_url="https://127.0.0.1:1", auth_token="a.b.c", certificate_authority="PEM\n"))
    assert client.configuration.ssl_ca_cert is not None
    assert Path(client.configuration.ssl_ca_cert).read_text() == "PEM\n"
    client.close()
    assert list(tmp_path.iterdir()) == []
