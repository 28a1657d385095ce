"""The system's Chromium, for tests in a browser. Playwright's own builds are not used."""

import os
import shutil

import pytest

FLAGS = (  # as root, and without connections to anything outside of this machine
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium(*, required_by: str) -> str:
    """The program. Without it the test is skipped, or fails if the variable `required_by` is 1."""
    program = shutil.which("chromium")
    if program is None:
        reason = "NOT TESTED in a browser: there is no Chromium on PATH; `make browser` installs Debian's"
        if os.environ.get(required_by) == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return program
