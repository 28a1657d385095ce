"""What the testbed hands to buildah."""

import pathlib

import pytest

from testbed import images, paths


def test_the_password_of_a_proxy_is_on_no_command_line(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each user of the machine can read command lines, and the message of a failed build repeats its own."""
    bundle = tmp_path / "ca-certificates.crt"
    bundle.touch()
    monkeypatch.setattr(images, "CA_BUNDLE", bundle)
    monkeypatch.setattr(paths, "IMAGES", tmp_path / "images")
    for name in images.PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://builder:hunter2@proxy.example.org:3128")
    options = images._build_options(set())
    assert options[-2:] == ["--build-arg", "https_proxy"]
    assert not any("hunter2" in option for option in options)
