"""
`make down` removes everything that `make up` made. It ends the cluster, so it runs last and only on request.

The tests look at the machine itself, not through the testbed's own code.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.target import ROOT, choose_target
from testbed import layout, paths
from tests.e2e.jobs import KEEPERS
from tests.e2e.waiting import PATIENCE

ASKED = "KNS_E2E_DOWN"
_DOWN_S = 240 * PATIENCE

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(os.environ.get(ASKED) != "1", reason=f"ends the cluster; set {ASKED}=1 to run it"),
    pytest.mark.proves("main", "`make down` leaves nothing of the cluster on the machine"),
]


@pytest.fixture(scope="module")
def down(pytestconfig: pytest.Config) -> str:
    """The command's output."""
    for keeper in pytestconfig.stash.get(KEEPERS, []):
        keeper.close()
    if not choose_target().is_testbed:
        pytest.skip("not the testbed: the user's own cluster is left alone")
    assert paths.STATE.exists(), "there is no testbed to remove; run `make up` first"
    done = subprocess.run(
        [sys.executable, "-m", "testbed", "down"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_DOWN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lines_of(*command: str) -> list[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=30 * PATIENCE
    ).stdout.splitlines()


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(file: Path) -> str:
    """The file's text; nothing of a process that ends meanwhile."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _program(process: Path) -> str:
    try:
        return str((process / "exe").readlink())
    except OSError:
        return ""


def test_no_process_is_left(down: str) -> None:
    """No program of the testbed runs, and none of a container."""
    ours = [f"{p.name}: {_program(p)}" for p in _processes() if _program(p).startswith(f"{paths.CACHE}/")]
    contained = [p.name for p in _processes() if "/kubepods" in _read(p / "cgroup")]
    assert (ours, contained) == ([], [])


def test_no_mount_and_no_network_namespace_is_left(down: str) -> None:
    """Network namespaces of pods are mounts below the testbed's folders."""
    places = (f"{paths.CACHE}/", f"{paths.RUN}/", "/run/netns/cni-", "/var/run/netns/cni-")
    mounts = [line.split()[4] for line in _read(Path("/proc/self/mountinfo")).splitlines()]
    assert [mount for mount in mounts if mount.startswith(places)] == []
    names = [line for line in _lines_of("ip", "netns", "list") if "cni-" in line]
    assert names == []


def test_no_link_and_no_route_is_left(down: str) -> None:
    links = [line.split(": ")[1] for line in _lines_of("ip", "-oneline", "link")]
    assert [name for name in links if name.split("@")[0] in (layout.NODE_BRIDGE, layout.POD_BRIDGE)] == []
    assert [name for name in links if name.startswith("veth")] == []
    ranges = tuple(cidr.rpartition(".")[0] for cidr in (layout.NODE_RANGE, layout.POD_SUBNET))
    routes = _lines_of("ip", "route", "show", "table", "all")
    assert [route for route in routes if any(part in route for part in ranges)] == []


@pytest.mark.parametrize("command", ["iptables-save", "ip6tables-save"])
def test_no_firewall_chain_is_left(down: str, command: str) -> None:
    chains = [line[1:].split()[0] for line in _lines_of(command) if line.startswith(":")]
    assert [chain for chain in chains if chain.startswith(("KNS-", "KUBE-", "CNI-"))] == []


def test_no_listener_no_file_and_no_cgroup_is_left(down: str) -> None:
    """The cache of programs and images stays."""
    listening = {line.split()[3] for line in _lines_of("ss", "--listening", "--tcp", "--numeric", "--no-header")}
    assert {f"{host}:{port}" for host, port, _ in layout.LISTENERS} & listening == set()
    assert [path for path in (paths.STATE, paths.RUN, paths.KUBECONFIG) if path.exists()] == []
    assert [str(found) for found in Path("/sys/fs/cgroup").glob("**/kubepods")] == []
    assert paths.BIN.exists()
