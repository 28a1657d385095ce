"""
The overlay changes what a site must set and nothing else, and restarts kns exactly when that changed.
"""

import dataclasses
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import accounts, environment, install, overlay, realm
from demo.errors import DemoError
from demo.images import OurImages, list_recipes
from demo.kubectl import Kubectl
from demo.target import MANIFESTS, ROOT, VARIABLES, Target, choose_target

PINNED = OurImages(
    scheduler="localhost/kns-scheduler@sha256:aa",
    init="localhost/kns-init@sha256:bb",
    shell="localhost/kns-gotty@sha256:cc",
)
CATALOG = {"kind": "Secret", "metadata": {"name": "kns-catalog"}, "data": {"users.json": "e30="}}


def _config(target: Target) -> dict[str, str]:
    return overlay.build_config(target, PINNED, realm_public_key="public")


def _render(folder: Path, *, config: dict[str, str] | None = None, catalog: dict[str, Any] | None = None) -> Any:
    chosen = config if config is not None else _config(choose_target({}))
    files = overlay.build_overlay(folder, config=chosen, images=PINNED, catalog=catalog or CATALOG)
    return {name: yaml.safe_load(text) for name, text in files.items()}


def _manifest(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text("utf-8"))


def test_the_overlay_stands_on_the_manifests_by_a_relative_path(tmp_path: Path) -> None:
    kustomization = _render(tmp_path)["kustomization.yaml"]
    base = kustomization["resources"][0]
    assert not Path(base).is_absolute()
    assert (tmp_path / base).resolve() == (ROOT / "manifests").resolve()
    assert kustomization["images"] == [
        {"name": "localhost/kns-scheduler", "newName": "localhost/kns-scheduler", "digest": "sha256:aa"}
    ]


def test_patches_meet_the_objects_of_the_manifests(tmp_path: Path) -> None:
    files = _render(tmp_path)
    deployment, settings = _manifest("deployment.yaml"), _manifest("configmap.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for patch, manifest in ((files["restart.yaml"], deployment), (files["config.yaml"], settings)):
        assert patch["kind"] == manifest["kind"]
        for key in ("name", "namespace"):
            assert patch["metadata"][key] == manifest["metadata"][key]
    assert container["image"].rpartition(":")[0] == overlay.IMAGE_IN_MANIFESTS
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"name": "catalog", "secret": {"secretName": "kns-catalog"}} in volumes


def test_a_changed_setting_or_catalogue_restarts_kns_and_nothing_else_does(tmp_path: Path) -> None:
    same = _render(tmp_path)["restart.yaml"]
    assert _render(tmp_path / "elsewhere")["restart.yaml"] == same
    assert _render(tmp_path, config={"KNS_WORKERS": "2"})["restart.yaml"] != same
    assert _render(tmp_path, catalog={**CATALOG, "data": {}})["restart.yaml"] != same


def test_the_testbed_gets_its_own_version_and_another_cluster_the_default(foreign: Target) -> None:
    assert _config(choose_target({}))["KNS_KUBERNETES_VERSIONS"] == "v1.36.3"
    config = _config(foreign)
    assert config["JARVICE_JOBS_DOMAIN"] == "jobs.example.org"
    assert not {"KNS_KUBERNETES_VERSIONS", "JARVICE_KNS_DEFAULT_STORAGE_CLASS"} & set(config)


def test_nested_clusters_get_the_testbeds_storage_class() -> None:
    manifest = yaml.safe_load_all((ROOT / "testbed" / "manifests" / "local-path.yaml").read_text("utf-8"))
    (name,) = [document["metadata"]["name"] for document in manifest if document["kind"] == "StorageClass"]
    assert _config(choose_target({}))["JARVICE_KNS_DEFAULT_STORAGE_CLASS"] == name


def test_kns_believes_the_demos_realm(foreign: Target) -> None:
    for target in (choose_target({}), foreign):
        assert _config(target)["JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY"] == "public"


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Target, Kubectl]:
    """The testbed with kns on it, as far as `make env` looks."""
    program = tmp_path / "kubectl"
    program.write_text("""#!/bin/sh\nprintf '{"spec": {"clusterIP": "10.96.0.7"}}'\n""")
    program.chmod(0o755)
    target = dataclasses.replace(choose_target({}), kubectl=program, state=tmp_path / "state")
    return target, Kubectl.of(target)


def test_the_environment_names_every_account_and_the_realms_key(installed: tuple[Target, Kubectl]) -> None:
    target, kubectl = installed
    realm.load_public_key(target.state)
    variables = environment.build(target, kubectl)
    prefixes = {"KNS": "user1", "KNS_ADMIN": "admin1", "KNS_OTHER": "user2", "KNS_PAYER": "payer1"}
    keys = accounts.load_keys(target.state)
    for prefix, username in prefixes.items():
        assert variables[f"{prefix}_USERNAME"] == username
        assert variables[f"{prefix}_APIKEY"] == keys[username]
    assert Path(variables["KNS_REALM_PRIVATE_KEY"]).stat().st_mode & 0o777 == 0o600
    assert variables["KNS_URL"] == "http://10.96.0.7:8080"


def test_the_demos_key_is_not_offered_where_kns_believes_another_realm(installed: tuple[Target, Kubectl]) -> None:
    target, kubectl = installed
    other = dataclasses.replace(target, overrides={"JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY": "another"})
    assert "KNS_REALM_PRIVATE_KEY" not in environment.build(other, kubectl)


def test_settings_of_the_environment_are_passed_on() -> None:
    target = choose_target({"JARVICE_KNS_KEEP_VCLUSTERS": "true", "KNS_KUBERNETES_VERSIONS": "v1.35.1", "KNS_X": "y"})
    config = _config(target)
    assert config["JARVICE_KNS_KEEP_VCLUSTERS"] == "true"
    assert config["KNS_KUBERNETES_VERSIONS"] == "v1.35.1"
    assert "KNS_X" not in config


def test_every_image_has_its_dockerfile() -> None:
    assert [recipe.name for recipe in list_recipes() if not recipe.dockerfile.is_file()] == []


def test_a_pod_that_crashes_again_and_again_is_not_waited_for() -> None:
    def pod(restarts: int) -> dict[str, Any]:
        state = {"waiting": {"reason": "CrashLoopBackOff"}}
        containers = [{"restartCount": restarts, "state": state}, {"restartCount": 0, "state": {"running": {}}}]
        return {"metadata": {"name": "kns-a"}, "status": {"containerStatuses": containers}}

    assert install.waiting_reasons(pod(1)) == ["CrashLoopBackOff"]
    with pytest.raises(DemoError, match="pod kns-a crashed 3 times"):
        install.waiting_reasons(pod(3))


def test_the_testbeds_own_kubeconfig_means_the_testbed() -> None:
    testbed = choose_target({})
    assert testbed.is_testbed
    assert choose_target({"KUBECONFIG": testbed.kubeconfig}) == testbed


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "KNS_REGISTRY and JARVICE_JOBS_DOMAIN"),
        ({"KNS_REGISTRY": "registry.example.org"}, "set JARVICE_JOBS_DOMAIN too"),
    ],
)
def test_another_cluster_needs_to_be_described(given: dict[str, str], missing: str) -> None:
    with pytest.raises(DemoError, match=missing):
        choose_target({"KUBECONFIG": "/elsewhere/config", **given})


def test_another_cluster_leaves_the_testbed_alone(foreign: Target) -> None:
    assert not foreign.is_testbed
    assert foreign.image("kns-init:1") == "registry.example.org/team/kns-init:1"
    assert foreign.state != choose_target({}).state


def test_assignments_survive_a_shell() -> None:
    value = "a 'b' $(echo c) \\ d"
    script = environment.render({"KNS_TRIED": value}) + 'printf %s "$KNS_TRIED"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == value


def test_the_next_steps_name_the_file_with_the_accounts() -> None:
    target = choose_target({})
    text = environment.describe_next_steps(target)
    assert shlex.quote(str(target.state / "env.sh")) in text
    assert "port-forward" not in text


def test_the_readme_has_the_same_next_steps() -> None:
    text = environment.describe_next_steps(choose_target({}))
    block = (ROOT / "README.md").read_text("utf-8").partition("## Submit something")[2].split("```")[1]
    commands = block.strip("\n").splitlines()
    assert commands[0] == 'eval "$(make -s env)"'
    assert "\n".join(commands[2:]) in text


def test_the_next_steps_give_a_key_to_no_program_as_an_argument(tmp_path: Path) -> None:
    """Runs as printed, with a curl that stores its arguments and its input. `ps` shows arguments to everybody."""
    curl = tmp_path / "curl"
    curl.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/arguments
case "$*" in *@-*) cat >> {tmp_path}/input;; esac
echo '{{"number": 7}}'
"""
    )
    curl.chmod(0o755)
    text = environment.describe_next_steps(choose_target({}))
    steps = "ask() " + text.partition("ask() ")[2].partition("The same with")[0]
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KNS_URL": "http://kns", "KNS_INGRESS_URL": "http://ingress"}
    accounts = {"KNS_USERNAME": "user1", "KNS_APIKEY": "a-secret-key"}
    subprocess.run(["bash", "-eu", "-c", steps], env=environ | accounts, capture_output=True, check=True)
    asked = (tmp_path / "arguments").read_text()
    assert "/jarvice/submit -d" in asked
    assert "/jarvice/shutdown?number=7" in asked
    assert "a-secret-key" not in asked
    headers = "X-API-Username: user1\nX-API-Key: a-secret-key\n"
    assert (tmp_path / "input").read_text() == headers * asked.count("/jarvice/")


def test_the_recipe_for_pushing_builds_and_pushes_every_image() -> None:
    """Runs as printed, with a docker that only prints its arguments."""
    recipe = VARIABLES.partition("Push the images first")[2].partition("\n")[2]
    command = ["/bin/sh", "-eu", "-c", 'docker() { echo "$@"; }\n' + recipe]
    environ = {"KNS_REGISTRY": "registry.example.org/team", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    asked = [line.split() for line in done.stdout.splitlines()]
    wanted = {f"registry.example.org/team/{made.name}": made for made in list_recipes()}
    assert {words[1] for words in asked if words[0] == "push"} == wanted.keys()
    for _, _, name, *where in (words for words in asked if words[0] == "build"):
        file = ROOT / where[1] if where[0] == "-f" else ROOT / where[0] / "Dockerfile"
        assert (file, ROOT / where[-1]) == (wanted[name].dockerfile, wanted[name].context)


def test_any_setting_of_the_environment_is_passed_on_but_no_secret_and_nothing_of_this_machine() -> None:
    given = {"KNS_POOL": "any=1", "JARVICE_KNS_KEEP_VCLUSTERS": "true"}
    kept_back = {
        "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET": "s3cret",
        "JARVICE_SCHED_SERVER_KEY": "s3cret",
        "JARVICE_K8S_ADMIN_CONF": "/here/kubeconfig",
        "KNS_CA_BUNDLE": "/here/ca.pem",
        "KNS_HELM": "/here/helm",
        "http_proxy": "http://here.example.org",
        "KNS_URL": "http://kns.example.org",
    }
    assert choose_target({**given, **kept_back}).overrides == given
