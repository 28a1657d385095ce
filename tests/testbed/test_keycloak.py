"""The testbed's Keycloak keeps to our own addresses, and is stopped like every other part."""

import pathlib
import subprocess

from testbed import keycloak, layout, parts, paths, teardown


def test_it_listens_on_our_own_addresses_and_looks_for_nobody() -> None:
    lines = keycloak.render_configuration("secret-of-test").splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert properties["http-host"] == layout.NODE_IP
    assert properties["http-management-host"] == "127.0.0.1"
    assert properties["cache"] == "local"  # no multicast
    assert properties["hostname"] == layout.KEYCLOAK_URL
    assert properties["db-url"].startswith(f"jdbc:h2:file:{paths.STATE}/")


def test_its_ports_are_among_those_that_are_checked() -> None:
    listeners = {f"{address}:{port}" for address, port, _ in layout.LISTENERS}
    assert {f"{layout.NODE_IP}:{layout.KEYCLOAK_PORT}", layout.KEYCLOAK_HEALTH} <= listeners


def test_no_secret_is_on_its_command_line() -> None:
    assert not [argument for argument in parts.BY_NAME["keycloak"].argv() if "password" in argument]


def test_up_does_not_start_it_and_down_ends_it_first() -> None:
    assert "keycloak" not in {part.name for part in parts.PARTS}
    assert next(name for name, _ in teardown.STOP_ORDER) == "keycloak"


def test_the_realm_script_is_one_that_a_shell_reads() -> None:
    script = pathlib.Path(__file__).parents[2] / "docs" / "keycloak-realm.sh"
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")
