"""What the tests of the demo share."""

from pathlib import Path

import pytest

from demo.target import Target, choose_target


@pytest.fixture
def foreign(tmp_path: Path) -> Target:
    """A cluster of the user's own."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return choose_target(
        {
            "KUBECONFIG": "/elsewhere/config",
            "KNS_REGISTRY": "registry.example.org/team/",
            "JARVICE_JOBS_DOMAIN": "jobs.example.org",
            "PATH": str(program.parent),
        }
    )
