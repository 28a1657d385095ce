"""
Keycloak on request: a real identity provider for tests, at an address that pods can reach.

Maven downloads the distribution, and it is built once in the cache, so that a start takes seconds. Its data is part of
the cluster's state: `keycloak down` keeps it, and `down` deletes it.
"""

import hashlib
import pathlib
import secrets
import shutil
import zipfile
from collections.abc import Callable

from testbed import api, layout, locking, machine, parts, paths, processes, records
from testbed.commands import run_long
from testbed.errors import TestbedError
from testbed.progress import Progress, say

VERSION = "26.4.5"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
SHA256 = "72f73642a2c36de797d51b4b2b342d4a49f6e5832af10aa470cd123627bd80b3"
PACKAGES = {"default-jre-headless": "/usr/bin/java", "maven": "/usr/bin/mvn"}
ADMIN = "admin"
# Options that are fixed when the distribution is built. The others are in the configuration file.
BUILD_OPTIONS = ("--db=dev-file", "--health-enabled=true")
START_TIMEOUT_S = 240.0  # the first start creates the database: 14 s on an idle machine


def up() -> None:
    """
    Start Keycloak, and print how to reach it.

    Raises:
        TestbedError: there is no cluster, or Keycloak did not start.
    """
    machine.require_root()
    with locking.exclusive():
        api.require_bridge()
        if "kube-apiserver" not in parts.live_parts():
            raise TestbedError("Keycloak needs a running cluster; run `python3 -m testbed up` first")
        progress = Progress(3)
        with progress.step("packages of Keycloak") as step:
            step.outcome = machine.install(PACKAGES, step.tick)
        with progress.step(f"Keycloak {VERSION}") as step:
            step.outcome = prepare(step.tick)
        with progress.step("keycloak") as step:
            write_configuration()
            step.outcome = parts.ensure_running(parts.BY_NAME["keycloak"], step.tick, timeout_s=START_TIMEOUT_S)
    say(f"Keycloak is at {layout.KEYCLOAK_URL}, administrator {ADMIN}, password in {paths.KEYCLOAK_PASSWORD}.")
    say(f"  export KCADM={paths.KEYCLOAK_HOME}/bin/kcadm.sh   # for docs/keycloak-realm.sh")


def down() -> None:
    """
    Stop Keycloak. Its realms stay until the cluster is removed.
    """
    machine.require_root()
    with locking.exclusive():
        identity = parts.live_parts().get("keycloak")
        if identity is None:
            say("Keycloak is not running.")
            return
        if processes.stop_all([identity], grace_s=10):
            raise TestbedError(f"keycloak (pid {identity.pid}) survived SIGKILL; find out why, then try again")
        processes.pid_file("keycloak").unlink(missing_ok=True)
        say(f"  stopped keycloak (pid {identity.pid})")


def prepare(tick: Callable[[str], None]) -> str:
    """
    Download and build the distribution, unless it is in the cache. Returns what was done.
    """
    note = paths.KEYCLOAK / "built.json"
    made_from = {"sha256": SHA256, "options": " ".join(BUILD_OPTIONS)}
    if records.read(note) == made_from:
        return "present"
    shutil.rmtree(paths.KEYCLOAK, ignore_errors=True)
    archive = _fetch(tick)
    tick("unpacking")
    with zipfile.ZipFile(archive) as content:
        content.extractall(paths.KEYCLOAK)
    (paths.KEYCLOAK / f"keycloak-{VERSION}").rename(paths.KEYCLOAK_HOME)
    shutil.rmtree(archive.parent)
    for script in (paths.KEYCLOAK_HOME / "bin").glob("*.sh"):
        script.chmod(0o755)  # zipfile does not restore modes
    run_long(
        [paths.KEYCLOAK_HOME / "bin" / "kc.sh", "build", *BUILD_OPTIONS],
        log=paths.BUILD_LOGS / "keycloak.log",
        tick=tick,
        env=parts.daemon_environment(),
    )
    records.write(note, made_from)
    return "built"


def write_configuration() -> None:
    """
    Write the configuration file and, once per cluster, the administrator's password.
    """
    folder = paths.KEYCLOAK_PASSWORD.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not paths.KEYCLOAK_PASSWORD.exists():
        draft = paths.KEYCLOAK_PASSWORD.with_suffix(".tmp")
        draft.write_text(secrets.token_hex(16), encoding="ascii")
        draft.chmod(0o600)
        draft.replace(paths.KEYCLOAK_PASSWORD)
    paths.KEYCLOAK_CONF.touch(mode=0o600)
    paths.KEYCLOAK_CONF.write_text(render_configuration(paths.KEYCLOAK_PASSWORD.read_text("ascii")), encoding="utf-8")


def render_configuration(password: str) -> str:
    """
    Keycloak's properties. Without `cache=local` it would look for other instances by multicast.
    """
    management_host, _, management_port = layout.KEYCLOAK_HEALTH.partition(":")
    properties = {
        "http-enabled": "true",
        "http-host": layout.NODE_IP,
        "http-port": str(layout.KEYCLOAK_PORT),
        "http-management-host": management_host,
        "http-management-port": management_port,
        "hostname": layout.KEYCLOAK_URL,
        "cache": "local",
        "db-url": f"jdbc:h2:file:{paths.KEYCLOAK_CONF.parent}/realms;NON_KEYWORDS=VALUE",
        "bootstrap-admin-username": ADMIN,
        "bootstrap-admin-password": password,
        "log-level": "warn",
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def _fetch(tick: Callable[[str], None]) -> pathlib.Path:
    folder = paths.KEYCLOAK / "archive"
    run_long(
        ["mvn", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"],
        log=paths.BUILD_LOGS / "maven.log",
        tick=tick,
    )
    archive = folder / f"keycloak-quarkus-dist-{VERSION}.zip"
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise TestbedError(f"Keycloak {VERSION} from Maven has sha256 {found}, expected {SHA256}; it was not installed")
    return archive
