"""The commands of a job's own cluster without access to the host cluster: through kns."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.adapters.bearer import RealmTokens
from kns.cli.gateway import CREDENTIAL_COMMAND
from kns.model.job.conditions import ConditionType
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.cli.conftest import URL, Terminal
from tests.cli.keycloak import ISSUER, TOKEN_S, FakeKeycloak
from tests.tokens import public_pem

SERVER = f"{URL}/kns/cluster/7"


def a_cluster() -> JobBuilder:
    return a_job().condition(ConditionType.VIRTUAL_CLUSTER_READY).started().exposed()


@pytest.fixture
def api() -> Api:
    api = Api(bearer=RealmTokens(public_pem()))
    api.add(a_cluster())
    return api


@pytest.fixture
def terminal(api: Api, tmp_path: Path) -> Terminal:
    """With a kubectl that only has to exist, and no access to a host cluster."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    (programs / "kubectl").chmod(0o755)
    terminal = Terminal(api, tmp_path / "kns")
    terminal.environ |= {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    return terminal


def connect(terminal: Terminal, tmp_path: Path, *options: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The kubeconfig and the variables of a program in `kns connect`."""
    seen = tmp_path / "seen"
    script = f'cat "$KUBECONFIG" > {seen}; stat -c %a "$KUBECONFIG" > {seen}.mode; env > {seen}.env'
    result = terminal.run("connect", "7", *options, "--", "sh", "-c", script)
    assert result.exit_code == 0, result.output
    assert Path(f"{seen}.mode").read_text() == "600\n"
    environ = dict(line.partition("=")[::2] for line in Path(f"{seen}.env").read_text().splitlines())
    assert not Path(environ["KUBECONFIG"]).exists()
    return yaml.safe_load(seen.read_text()), environ


def test_without_access_to_the_host_it_goes_through_kns(api: Api, terminal: Terminal, tmp_path: Path) -> None:
    config, environ = connect(terminal, tmp_path)
    assert config["clusters"][0]["cluster"] == {"server": SERVER}
    assert config["users"][0]["user"] == {"username": "user1", "password": "key-user1"}
    assert (environ["KNS_JOB"], environ["KNS_GATEWAY"]) == ("7", "1")
    assert [request.target for _, request in api.clusters.seen] == ["/version"]


def test_with_access_to_the_host_only_if_asked(terminal: Terminal, tmp_path: Path) -> None:
    terminal.environ["KUBECONFIG"] = "/host.conf"
    config, _ = connect(terminal, tmp_path, "--gateway")
    assert config["clusters"][0]["cluster"] == {"server": SERVER}
    assert "kubectl" in terminal.refuse(6, "connect", "7", "--", "true")
    assert "needs no host" in terminal.refuse(2, "connect", "7", "--gateway", "--host-context", "x", "--", "true")
    assert "--port is for" in terminal.refuse(2, "connect", "7", "--gateway", "--port", "6443", "--", "true")


def test_ports_are_forwarded_through_kns(terminal: Terminal, tmp_path: Path) -> None:
    program = tmp_path / "programs" / "kubectl"
    script = f'[ "$1" = version ] && echo v1.31.0 && exit\ncat "$KUBECONFIG" > {tmp_path}/seen\n'
    program.write_text(f'#!/bin/sh\n{script}echo "$*" > {tmp_path}/words; env > {tmp_path}/env\n')
    assert terminal.run("port-forward", "7", "service/web", "8080:80").exit_code == 0
    assert SERVER in (tmp_path / "seen").read_text()
    words = (tmp_path / "words").read_text()
    assert words == "port-forward --address=127.0.0.1 --namespace=default service/web 8080:80\n"
    assert "KNS_APIKEY" not in (tmp_path / "env").read_text(), "kubectl may start plugins"


def test_an_old_kubectl_cannot_forward_ports_through_kns(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "programs" / "kubectl").write_text("#!/bin/sh\necho v1.30.9\n")
    line = terminal.refuse(2, "port-forward", "7", "service/web", "8080")
    assert line.startswith("this kubectl is older than 1.31: with it, kubectl cannot forward ports through kns")


def test_a_private_authority_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    terminal.environ["SSL_CERT_FILE"] = "/site.pem"
    config, _ = connect(terminal, tmp_path)
    assert config["clusters"][0]["cluster"]["certificate-authority"] == "/site.pem"


def test_the_path_of_a_private_authority_is_that_of_the_user(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl would look for a relative one in the folder of the kubeconfig."""
    monkeypatch.chdir(tmp_path)
    terminal.environ["SSL_CERT_FILE"] = "certs/site.pem"
    config, _ = connect(terminal, tmp_path)
    assert config["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "certs" / "site.pem")


def test_a_token_is_in_the_file(terminal: Terminal, tmp_path: Path, api: Api) -> None:
    keycloak = FakeKeycloak(api.clock)
    terminal.keycloak = keycloak
    token = sign_in(terminal, keycloak)["status"]["token"]
    for name in ("KNS_USERNAME", "KNS_APIKEY"):
        terminal.environ.pop(name, None)
    terminal.environ |= {"KNS_URL": URL, "KNS_TOKEN": token}
    config, _ = connect(terminal, tmp_path)
    assert config["users"][0]["user"] == {"token": token}


def sign_in(terminal: Terminal, keycloak: FakeKeycloak) -> Any:
    """Sign in at the realm. What kubectl then gets."""
    for name in ("KNS_URL", "KNS_USERNAME", "KNS_APIKEY"):
        terminal.environ.pop(name, None)
    terminal.steps = [keycloak.approve]
    assert terminal.run("login", "--url", URL, "--issuer", ISSUER).exit_code == 0
    return json.loads(terminal.run(CREDENTIAL_COMMAND).stdout)


def test_tokens_of_a_realm_are_renewed_for_kubectl(terminal: Terminal, tmp_path: Path, api: Api) -> None:
    keycloak = FakeKeycloak(api.clock)
    terminal.keycloak = keycloak
    first = sign_in(terminal, keycloak)
    assert first["kind"] == "ExecCredential"
    config, _ = connect(terminal, tmp_path)
    run = config["users"][0]["user"]["exec"]
    assert (run["apiVersion"], run["interactiveMode"]) == (first["apiVersion"], "Never")
    assert run["args"][-5:] == ["--profile", "default", "--url", URL, CREDENTIAL_COMMAND]
    assert first["status"]["token"] not in json.dumps(config)
    api.clock.advance(TOKEN_S)
    second = json.loads(terminal.run(*run["args"][-5:]).stdout)
    assert second["status"]["token"] != first["status"]["token"]


def test_an_api_key_is_not_printed(terminal: Terminal) -> None:
    assert "has an API key" in terminal.refuse(2, CREDENTIAL_COMMAND)


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        (a_job(), "the cluster of job 7 does not run at this moment"),
        (a_cluster().ended(), "its cluster is removed"),
    ],
)
def test_a_job_without_a_cluster_is_one_sentence(api: Api, terminal: Terminal, builder: JobBuilder, words: str) -> None:
    api.add(builder)
    assert words in terminal.refuse(5, "connect", "7", "--", "true")


def test_a_site_that_does_not_offer_it(tmp_path: Path, terminal: Terminal, api: Api) -> None:
    other = Api(clusters_of_all=False)
    other.add(a_cluster())
    terminal.bridge._api = other
    assert terminal.refuse(5, "connect", "7", "--", "true").startswith("job 7 has no web shell")


def test_a_kns_without_the_route(terminal: Terminal) -> None:
    terminal.bridge.unreachable = "/kns/cluster/7/version"
    assert "connection refused" in terminal.refuse(6, "connect", "7", "--", "true")


def test_control_characters_of_a_hostile_answer_reach_no_terminal(terminal: Terminal, api: Api) -> None:
    api.clusters.answer.status = 418
    api.clusters.answer.body = [json.dumps({"message": "\x1b]0;title\x07"}).encode()]
    assert "\x1b" not in terminal.refuse(5, "connect", "7", "--", "true")


def test_an_address_without_tls_is_refused(terminal: Terminal) -> None:
    """kubectl would send no credentials, and say that the user is not signed in."""
    terminal.environ["KNS_URL"] = "http://kns.example.org"
    assert "over TLS only" in terminal.refuse(2, "connect", "7", "--", "true")
