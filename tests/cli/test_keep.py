"""What stays of a job: keep and delete, for administrators."""

import pytest

from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import Terminal


@pytest.fixture
def admin(terminal: Terminal) -> Terminal:
    terminal.environ |= {"KNS_USERNAME": "admin1", "KNS_APIKEY": "key-admin1"}
    return terminal


def test_a_job_is_kept_and_no_longer(api: Api, admin: Terminal) -> None:
    api.add(a_job().exposed())
    for args, keep in ((("keep", "7"), True), (("keep", "7", "--undo"), False)):
        result = admin.run(*args)
        assert (result.exit_code, result.output) == (0, "")
        job = api.jobs.find(7)
        assert job is not None
        assert job.spec.keep is keep


def test_records_are_deleted_after_a_question_only(api: Api, admin: Terminal) -> None:
    api.add(a_job().exposed().ended())
    assert admin.refuse(2, "delete", "7") == "nothing was deleted; --yes deletes without a question"
    assert "delete kns-job-7" not in api.jobs.writes
    assert admin.run("delete", "7", "--yes").exit_code == 0
    assert "delete kns-job-7" in api.jobs.writes


def test_what_cannot_be_deleted_does_not_keep_the_others(api: Api, admin: Terminal) -> None:
    """Each has a line, and the first one is the status."""
    for number in (7, 9):
        api.add(a_job().numbered(number).exposed().ended())
    api.add(a_job().numbered(8).exposed())
    result = admin.run("delete", "99", "8", "7", "9", "-y", "-o", "json")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.splitlines() == [
        "kns: job 99: there is no such job, or it is not yours; `kns list --all` lists your jobs",
        "kns: job 8 has not ended; `kns stop` ends it",
    ]
    assert [line for line in api.jobs.writes if line.startswith("delete")] == ["delete kns-job-7", "delete kns-job-9"]


def test_users_do_neither(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed().ended())
    assert terminal.refuse(3, "delete", "7", "-y") == "user1 is not a system admin"
    assert terminal.refuse(3, "keep", "7") == "user1 is not a system admin"
