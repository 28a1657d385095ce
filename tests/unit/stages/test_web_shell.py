"""Whether a job has a web shell, and where: one answer for all stages."""

import pytest

from kns.model.job.conditions import Reason
from kns.model.site import JobAddress
from kns.stages.outcome import Skipped
from kns.stages.web_shell import WebShell, find_web_shell, has_web_shell
from tests.builders import JobBuilder, a_job
from tests.flow.conftest import Simulation

IMAGE = "registry.example.org/kns-gotty:1"
WANTED = a_job().with_nested(enable_gotty_shell=True)


def below(url: str, host: str, path: str = "/gotty-shell") -> WebShell:
    return WebShell(IMAGE, JobAddress(host=host, path=path, url=f"{url}/gotty-shell"))


HERE = below("https://kns-job-7.jobs.example.org", "kns-job-7.jobs.example.org")


@pytest.mark.parametrize(
    ("job", "image", "answer"),
    [
        pytest.param(a_job(), IMAGE, None, id="not asked for"),
        pytest.param(a_job(), None, None, id="not asked for, and not allowed"),
        pytest.param(WANTED, IMAGE, HERE, id="before the job is exposed"),
        pytest.param(WANTED.exposed(), IMAGE, HERE, id="while the job serves"),
        pytest.param(
            WANTED.exposed(url="https://old.example.org/job7"),
            IMAGE,
            below("https://old.example.org/job7", "old.example.org", "/job7/gotty-shell"),
            id="an address of an earlier jobs domain",
        ),
        pytest.param(WANTED, None, Reason.SHELL_NOT_ALLOWED, id="not allowed"),
        pytest.param(WANTED.without_target(), IMAGE, Reason.SHELL_WITHOUT_URL, id="no target"),
        pytest.param(WANTED.exposed(url=None), IMAGE, Reason.SHELL_WITHOUT_URL, id="exposed without a URL"),
        pytest.param(WANTED.owned_by("a:b"), IMAGE, Reason.SHELL_NOT_STARTED, id="a user who cannot log in"),
    ],
)
def test_one_answer(sim: Simulation, job: JobBuilder, image: str | None, answer: WebShell | Reason | None) -> None:
    sim.configure(shell_image=image)
    sim.store.add(job.build())
    found = find_web_shell(sim.context())
    assert (found.reason if isinstance(found, Skipped) else found) == answer
    assert has_web_shell(sim.context()) is isinstance(answer, WebShell)
