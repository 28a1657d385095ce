"""
The rendered configuration keeps the promises that the machine's safety and `down` rest on.
"""

import ipaddress
import tomllib

import pytest

from testbed import config, layout, paths, plan, registry
from testbed.dockerfile import is_ignored
from testbed.registry import Reference


def test_containerd_keeps_everything_in_our_folders() -> None:
    document = tomllib.loads(config.render_containerd())
    runtime = document["plugins"]["io.containerd.cri.v1.runtime"]
    options = runtime["containerd"]["runtimes"]["runc"]["options"]
    assert document["root"].startswith(str(paths.STATE))
    assert document["state"].startswith(str(paths.RUN))
    assert options["Root"].startswith(str(paths.RUN))
    assert runtime["netns_mounts_under_state_dir"] is True
    assert runtime["restrict_oom_score_adj"] is True


def test_images_are_pulled_from_our_registry_only() -> None:
    hosts = tomllib.loads(config.render_registry_hosts())
    assert hosts["server"] == "http://127.0.0.1:5000"
    assert list(hosts["host"]) == ["http://127.0.0.1:5000"]


def test_kubelet_never_hands_out_the_machines_resolver() -> None:
    rendered = config.render_kubelet()
    assert rendered["resolvConf"] == f"{paths.CONFIG}/resolv.conf"
    assert config.render_resolv_conf() == f"nameserver {layout.DNS_IP}\n"
    assert rendered["address"] == layout.NODE_IP


def test_servers_listen_on_our_own_addresses() -> None:
    for address, _, _ in layout.LISTENERS:
        own = ipaddress.ip_address(address)
        assert own.is_loopback or address == layout.NODE_IP
    assert config.render_kube_proxy()["nodePortAddresses"] == [f"{layout.NODE_IP}/32"]


def test_plan_names_every_change_and_its_undoing() -> None:
    text = plan.render()
    for word in (layout.NODE_BRIDGE, layout.POD_BRIDGE, "KUBE-*", "CNI-*", "KNS-TESTBED", str(paths.CACHE)):
        assert word in text
    for _, port, _ in layout.LISTENERS:
        assert str(port) in text
    assert "down --purge" in text


@pytest.mark.parametrize(
    ("name", "path", "tag"),
    [
        ("docker.io/library/debian:bookworm-slim", "library/debian", "bookworm-slim"),
        ("ghcr.io/loft-sh/kubernetes:v1.36.3", "loft-sh/kubernetes", "v1.36.3"),
        ("localhost/kns:dev", "kns", "dev"),
        ("registry.local:5000/a/b", "a/b", "latest"),
        ("coredns/coredns:1.14.2", "coredns/coredns", "1.14.2"),
        ("busybox", "library/busybox", "latest"),
    ],
)
def test_image_name_to_registry_path(name: str, path: str, tag: str) -> None:
    assert registry.Reference.parse(name) == Reference(path, tag)


@pytest.mark.parametrize(
    ("name", "ignored"),
    [("kns/main.py", False), ("kns/__pycache__/a.pyc", True), ("tests/a.py", True), ("pyproject.toml", False)],
)
def test_dockerignore_last_match_decides(name: str, ignored: bool) -> None:
    assert is_ignored(name, ["*", "!kns", "!pyproject.toml", "**/__pycache__"]) is ignored
