"""`launcher.kubernetes.conf`, the command line, and what a pod knows without either."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kns.launcher.config.arguments import Mode, parse_arguments
from kns.launcher.config.credentials import Account
from kns.launcher.config.options import OPTIONS
from kns.launcher.config.problems import ConfigError
from kns.launcher.config.settings import find_scratch_path
from tests.launcher.config.conftest import MINIMUM, Machine

Configured = Callable[[str], Machine]
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_p32_the_smallest_file_has_the_documented_defaults(configured: Configured) -> None:
    options = configured("").read().options

    assert options.cluster == "Kubernetes"
    assert options.namespace == "rstudio"
    assert options.scratch_path == Path("/var/lib/rstudio-launcher/Kubernetes")
    assert options.logging_dir == Path("/var/log/rstudio/launcher")
    assert options.server_user == "rstudio-server"
    assert options.thread_pool_size == 2 * (os.cpu_count() or 1)
    assert options.job_expiry_hours == 24
    assert options.watch_timeout_s == 180
    assert options.fetch_limit == 500
    assert options.shared_process_namespace
    assert options.verify_ssl_certs
    assert not options.use_templating
    assert not options.debug
    assert not options.nested
    assert options.certificate_authority == ""


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("server-user=launcher", "server_user", "launcher"),  # P01
        ("thread-pool-size=7", "thread_pool_size", 7),  # P02
        ("enable-debug-logging=1", "debug", True),  # P03
        ("scratch-path=/srv/scratch", "scratch_path", Path("/srv/scratch")),  # P04
        ("logging-dir=/srv/log", "logging_dir", Path("/srv/log")),  # P05
        ("job-expiry-hours=1", "job_expiry_hours", 1),  # P06
        ("kubernetes-namespace=jobs-2", "namespace", "jobs-2"),  # P11
        ("shared-process-namespace=false", "shared_process_namespace", False),  # P12
        ("verify-ssl-certs=0", "verify_ssl_certs", False),  # P13
        ("certificate-authority=", "certificate_authority", ""),  # P14
        (f"certificate-authority={encode(PEM)}", "certificate_authority", PEM),
        ("watch-timeout-seconds=0", "watch_timeout_s", 0),  # P15
        ("fetch-limit=2", "fetch_limit", 2),  # P16
        ("use-templating=1", "use_templating", True),  # P17
        ("heartbeat-interval-seconds=0", "heartbeat_interval_s", 0),
        ("unprivileged=1", "unprivileged", True),
        ("max-message-size=2097152", "max_message_bytes", 2 << 20),
    ],
)
def test_each_key_of_the_file_is_read(configured: Configured, line: str, field: str, value: object) -> None:
    machine = configured(f"# a comment\n; another\n\n  {line.replace('=', ' = ', 1)}  \n")
    machine.users["launcher"] = Account(os.geteuid())

    assert value == getattr(machine.read().options, field)


NESTED = "nested-url=https://kns.example.org\nnested-app=posit\n"


def test_nested_jobs_need_an_address_an_app_and_credentials(configured: Configured, tmp_path: Path) -> None:
    secret = tmp_path / "kns"
    secret.write_text("posit:key")
    secret.chmod(0o600)
    machine = configured(
        f"nested=1\n{NESTED}nested-credentials-path={secret}\nnested-machine=m\nnested-authority-path=/ca.pem\n"
    )
    options = machine.read().options
    assert (options.nested, options.can_nest, options.nested_url) == (True, True, "https://kns.example.org")
    assert (options.nested_app, options.nested_machine) == ("posit", "m")
    assert (options.nested_credentials_path, options.nested_authority_path) == (secret, Path("/ca.pem"))
    assert machine.read().warnings == ()


@pytest.mark.parametrize("line", ["nested=1", "nested-url=https://kns.example.org"])
def test_half_of_the_settings_of_nested_jobs_stop_the_start(configured: Configured, line: str) -> None:
    machine = configured(f"{line}\n")
    keys = [problem.split(": ")[1] for problem in machine.problems()]
    assert keys == [
        key for key in ("nested-url", "nested-credentials-path", "nested-app") if not line.startswith(f"{key}=")
    ]


def test_the_credentials_of_kns_are_a_secret_file(configured: Configured, tmp_path: Path) -> None:
    secret = tmp_path / "kns"
    machine = configured(f"{NESTED}nested-credentials-path={secret}\n")
    assert "cannot be read" in machine.problems()[0]
    secret.write_text("posit:key")
    secret.chmod(0o646)
    assert "can be written by everybody" in machine.problems()[0]
    secret.chmod(0o604)
    (warning,) = machine.read().warnings
    assert "can be read by everybody" in str(warning)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("api-ur=x", "launcher.kubernetes.conf:3: api-ur: is not a setting; did you mean api-url?"),
        ("fetch-limit=many", "launcher.kubernetes.conf:3: fetch-limit: must be a whole number from 1 to 100000, "
         "not 'many'"),
        ("fetch-limit=0", "launcher.kubernetes.conf:3: fetch-limit: must be a whole number from 1 to 100000, not '0'"),
        ("max-message-size=2097151", "launcher.kubernetes.conf:3: max-message-size: must be a whole number "
         "from 2097152 to 5242880, not '2097151'"),
        ("thread-pool-size=0", "launcher.kubernetes.conf:3: thread-pool-size: must be a whole number from 1 to 1024, "
         "not '0'"),
        ("verify-ssl-certs=maybe", "launcher.kubernetes.conf:3: verify-ssl-certs: must be 0 or 1, not 'maybe'"),
        ("scratch-path=here", "launcher.kubernetes.conf:3: scratch-path: must be an absolute path, not 'here'"),
        ("kubernetes-namespace=Jobs", "launcher.kubernetes.conf:3: kubernetes-namespace: must be a name of a "
         "namespace: small letters, digits and -, at most 63, not 'Jobs'"),
        ("log-level=LOUD", "launcher.kubernetes.conf:3: log-level: must be one of ERR, WARN, INFO, DEBUG, not 'LOUD'"),
        ("certificate-authority=abc", "launcher.kubernetes.conf:3: certificate-authority: must be a PEM certificate "
         "encoded in base64, in one line; blank selects the system's store"),
        ("[cluster]", "launcher.kubernetes.conf:3: [cluster]: sections belong in the profiles file"),
        ("just words", "launcher.kubernetes.conf:3: 'just words' is not a setting; write key=value"),
        ("[open", "launcher.kubernetes.conf:3: '[open' is not a heading; write [name]"),
        ("auth-token=ddd.eee.fff", "launcher.kubernetes.conf:3: auth-token: is set twice, first in line 2"),
        ("server-user=nobody-here", "launcher.kubernetes.conf:3: server-user: no user 'nobody-here'; create it or set "
         "another"),
        ("profile-config=/no/such.conf", "/no/such.conf: cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_p32_a_wrong_line_stops_the_start_with_file_line_key_and_what_is_allowed(
    configured: Configured, line: str, problem: str
) -> None:
    assert [problem] == configured(line + "\n").problems()


def test_p32_every_problem_is_reported_at_once(machine: Machine) -> None:
    machine.write("fetch-limit=x\nwatch-timeout-seconds=y\n")

    assert [problem.split(": ")[1] for problem in machine.problems()] == [
        "fetch-limit",
        "watch-timeout-seconds",
        "api-url",
        "auth-token-path",
    ]


def test_a_missing_file_outside_a_pod_stops_the_start(machine: Machine) -> None:
    assert "launcher.kubernetes.conf: cannot be read: No such file or directory" in machine.problems()


def test_a_file_that_is_not_text_names_its_line(machine: Machine) -> None:
    (machine.folder / "launcher.kubernetes.conf").write_bytes(b"fetch-limit=1\n\xff\xfe")

    assert "launcher.kubernetes.conf:2: is not UTF-8" in machine.problems()


def test_a_file_without_an_end_is_refused(machine: Machine) -> None:
    (machine.folder / "launcher.kubernetes.conf").symlink_to("/dev/zero")

    assert "launcher.kubernetes.conf: is larger than 1048576 bytes" in machine.problems()


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://192.168.99.100:8443", "https://192.168.99.100:8443"),
        ("http://127.0.0.1:8001/", "http://127.0.0.1:8001"),
        ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
        ("https://host/k8s/clusters/c-1", "https://host/k8s/clusters/c-1"),
    ],
)
def test_p08_api_url(machine: Machine, url: str, read: str) -> None:
    machine.write(f"api-url={url}\nauth-token=a.b.c\n")

    assert read == machine.read().options.api_url


@pytest.mark.parametrize("url", ["", "ftp://host", "host:8443", "https://", "https://host:99999", "https://u:pw@host"])
def test_p08_a_wrong_api_url_is_refused_without_its_password(machine: Machine, url: str) -> None:
    machine.write(f"api-url={url}\nauth-token=a.b.c\n")

    (problem,) = machine.problems()

    assert problem.startswith("launcher.kubernetes.conf:1: api-url: must be")
    assert "pw" not in problem


def test_p08_the_api_path_is_refused_with_the_right_url(machine: Machine) -> None:
    machine.write("api-url=https://host:6443/api\nauth-token=a.b.c\n")

    assert machine.problems() == ["launcher.kubernetes.conf:1: api-url: must end before /api: https://host:6443"]


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("aaa.bbb.ccc", "aaa.bbb.ccc"),  # S000: the token itself
        (encode("aaa.bbb.ccc"), "aaa.bbb.ccc"),  # S001: base64
        (encode("aaa.bbb.ccc\n"), "aaa.bbb.ccc"),
        ("abcdef.0123456789abcdef", "abcdef.0123456789abcdef"),
        (encode("no web token"), encode("no web token")),  # opaque: left alone
    ],
)
def test_p10_inline_token_raw_or_base64(machine: Machine, written: str, token: str) -> None:
    machine.write(f"api-url=https://host\nauth-token={written}\n")

    assert token == machine.read().options.auth_token


def test_p10_a_broken_token_is_not_shown(machine: Machine) -> None:
    machine.write("api-url=https://host\nauth-token=secret words\n")

    (problem,) = machine.problems()

    assert problem.startswith("launcher.kubernetes.conf:2: auth-token: must be a token")
    assert "secret" not in problem


def token_file(machine: Machine, content: str = "aaa.bbb.ccc\n", mode: int = 0o600) -> Path:
    path = machine.folder / "token"
    path.write_text(content)
    path.chmod(mode)
    machine.write(f"api-url=https://host\nauth-token-path={path}\n")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_p09_p44_a_token_file_of_the_server_user_or_with_a_group(machine: Machine, mode: int) -> None:
    path = token_file(machine, mode=mode)

    settings = machine.read()

    assert settings.options.auth_token_path == path
    assert settings.options.auth_token == ""
    assert settings.warnings == ()


def test_p09_a_token_file_that_everybody_reads_is_a_warning(machine: Machine) -> None:
    path = token_file(machine, mode=0o644)

    (warning,) = machine.read().warnings

    assert warning.said == f"{path} can be read by everybody; set its mode to 0600 (chmod)"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("aaa.bbb.ccc", 0o602, "can be written by everybody; set its mode to 0600 (chmod)"),
        ("", 0o600, "must not be empty"),
        ("two words", 0o600, "must be a token in one line"),
        ("a" * 70_000, 0o600, "is larger than 65536 bytes"),
    ],
)
def test_p09_a_token_file_that_cannot_be_used(machine: Machine, content: str, mode: int, said: str) -> None:
    path = token_file(machine, content, mode)

    (problem,) = machine.problems()

    assert problem.startswith(f"launcher.kubernetes.conf:2: auth-token-path: {path} ".replace(f"{machine.folder}/", ""))
    assert said in problem
    assert "aaa" not in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_p09_a_token_file_of_another_user_is_refused(machine: Machine) -> None:
    os.chown(token_file(machine), 12345, -1)

    (problem,) = machine.problems()

    assert problem.endswith("belongs to user 12345; the server-user must own it (chown)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "gids", "is_fine"),
    [
        (0, 0, 0o600, {12345}, False),
        (0, 7, 0o640, {12345}, False),
        (0, 7, 0o640, {12345, 7}, True),  # P44: a volume with fsGroup
        (12345, 0, 0o600, {12345}, True),
        (12345, 0, 0o200, {12345}, False),
    ],
)
def test_p09_the_user_that_the_plugin_becomes_must_read_the_token(
    machine: Machine, owner: int, group: int, mode: int, gids: set[int], is_fine: bool
) -> None:
    os.chown(token_file(machine, mode=mode), owner, group)
    machine.users["rstudio-server"] = Account(12345, frozenset(gids))

    if is_fine:
        assert machine.read().warnings == ()
    else:
        assert "cannot be read by the server-user, who must own it or be in its group" in machine.problems()[0]


def test_p09_an_absent_token_file_is_refused(machine: Machine) -> None:
    machine.write("api-url=https://host\nauth-token-path=/no/token\n")

    assert machine.problems() == [
        "launcher.kubernetes.conf:2: auth-token-path: /no/token cannot be read: No such file or directory"
    ]


def test_one_of_path_and_token_is_required(machine: Machine) -> None:
    machine.write("api-url=https://host\n")

    assert machine.problems() == ["launcher.kubernetes.conf: auth-token-path: is required, unless auth-token is set"]


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
def test_p18_p46_a_pod_needs_no_file(machine: Machine, host: str, url: str) -> None:
    machine.environ |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "6443"}
    (machine.account / "token").write_text("aaa.bbb.ccc")
    (machine.account / "ca.crt").write_text(PEM)

    settings = machine.read()

    assert settings.options.api_url == url
    assert settings.options.auth_token_path == machine.account / "token"
    assert settings.options.certificate_authority == PEM
    assert settings.warnings == ()


def test_p18_the_file_wins_over_the_pod(machine: Machine) -> None:
    machine.environ |= {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    (machine.account / "token").write_text("ddd.eee.fff")
    (machine.account / "ca.crt").write_text(PEM)
    machine.write(MINIMUM)

    options = machine.read().options

    assert options.api_url == "https://192.168.99.100:8443"
    assert options.auth_token == "aaa.bbb.ccc"
    assert options.certificate_authority == "", "the pod's CA belongs to the pod's API server"


def test_p33_the_file_beats_the_command_line_which_beats_the_defaults(configured: Configured) -> None:
    machine = configured("job-expiry-hours=3\n")

    options = machine.read("--job-expiry-hours=9", "--thread-pool-size=5", "--enable-debug-logging=1").options

    assert options.job_expiry_hours == 3
    assert options.thread_pool_size == 5
    assert options.debug


def test_the_arguments_of_the_launcher_are_accepted(configured: Configured) -> None:
    names = [name for name in OPTIONS if OPTIONS[name].source == "file and command line"]
    texts = {"server-user": "rstudio-server", "scratch-path": "/srv/s", "launcher-config-file": "/no/launcher.conf"}
    argv = [f"--{name}={texts.get(name, OPTIONS[name].default)}" for name in names]

    assert configured("").read(*argv).options.scratch_path == Path("/srv/s")
    assert {"plugin-name", "server-user", "enable-debug-logging", "scratch-path", "heartbeat-interval-seconds",
            "thread-pool-size", "logging-dir", "launcher-config-file", "unprivileged", "max-message-size",
            "rsandbox-path", "job-expiry-hours", "log-level"} == set(names)  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--tread-pool-size=3"], "command line: tread-pool-size: is not an option; did you mean thread-pool-size?"),
        (["--api-url=https://x"], "command line: api-url: is not an option; "),
        (["serve"], "command line: serve: is not an option; options begin with --"),
        (["--scratch-path"], "command line: scratch-path: needs a value"),
        (["--diff-templates", "--generate-templates"], "command line: diff-templates and generate-templates exclude"),
    ],
)
def test_a_wrong_argument_is_named(argv: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_arguments(argv)

    assert str(caught.value).startswith(problem)


def test_a_wrong_value_of_an_argument_is_named(configured: Configured) -> None:
    assert configured("").problems("--thread-pool-size=x") == [
        "command line: thread-pool-size: must be a whole number from 1 to 1024, not 'x'"
    ]


def test_t02_template_commands() -> None:
    arguments = parse_arguments(["--validate-templates", "--verbose", "--scratch-path", "/srv/s"])

    assert arguments.mode is Mode.VALIDATE
    assert arguments.verbose
    assert arguments.values == {"scratch-path": "/srv/s"}


@pytest.mark.parametrize(
    ("launcher", "plugin", "argv", "path"),
    [
        ("", "", [], "/var/lib/rstudio-launcher/Kubernetes"),
        ("[cluster]\nname=K8S\ntype=Kubernetes\n", "", [], "/var/lib/rstudio-launcher/K8S"),
        (
            "[server]\nscratch-path=/srv\n[cluster]\nname=A\nexe=/usr/lib/rstudio-kubernetes-launcher\n",
            "",
            [],
            "/srv/A",
        ),
        ("[cluster]\nname=Local\ntype=Local\n", "", [], "/var/lib/rstudio-launcher/Kubernetes"),
        ("[cluster]\nname=K8S\ntype=Kubernetes\n", "scratch-path=/data/t\n", [], "/data/t"),
        ("", "scratch-path=/data/t\n", ["--scratch-path", "/typed"], "/typed"),
    ],
)
def test_t03_the_scratch_path_is_found_without_a_cluster(
    machine: Machine, launcher: str, plugin: str, argv: list[str], path: str
) -> None:
    if launcher:
        machine.write(launcher, "launcher.conf")
    if plugin:
        machine.write(plugin)

    assert Path(path) == find_scratch_path(parse_arguments(["--generate-templates", *argv]), machine.site())


def test_p45_two_clusters_have_their_own_files(machine: Machine) -> None:
    one, two = (machine.write(MINIMUM + f"kubernetes-namespace={name}\n", f"{name}.conf") for name in ("one", "two"))
    machine.write(
        f"[cluster]\nname=One\ntype=Kubernetes\nconfig-file={one}\n"
        f"[cluster]\nname=Two\ntype=Kubernetes\nconfig-file={two}\n",
        "launcher.conf",
    )

    found = [machine.read(f"--plugin-name={name}").options for name in ("One", "two")]

    assert [(each.cluster, each.namespace, str(each.scratch_path)) for each in found] == [
        ("One", "one", "/var/lib/rstudio-launcher/One"),
        ("Two", "two", "/var/lib/rstudio-launcher/Two"),
    ]


def test_warnings_do_not_stop_the_start(machine: Machine) -> None:
    token_file(machine)
    with (machine.folder / "launcher.kubernetes.conf").open("a") as file:
        file.write("auth-token=aaa.bbb.ccc\nverify-ssl-certs=0\n")

    assert [warning.key for warning in machine.read().warnings] == ["auth-token", "verify-ssl-certs"]
