"""`kns run`: a cluster as a step of a pipeline. The job is ended in any case, and the status says what happened."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kns.adapters.bearer import RealmTokens
from kns.model.job.job import JobState, StopReason
from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import URL, Terminal
from tests.cli.host import PORT, Host, finish_real, list_left, make_host, make_terminal, prepare_run, serve, start_real
from tests.cli.keycloak import ISSUER, TOKEN_S, FakeKeycloak
from tests.patience import PATIENCE_S
from tests.tokens import public_pem
from tests.web.serving import serving as serving_page
from tests.web.ui import Ui

pytestmark = pytest.mark.timeout(300)  # it starts programs that wait for a signal


@pytest.fixture
def api() -> Api:
    return Api(bearer=RealmTokens(public_pem()))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return make_host(tmp_path / "host")


@pytest.fixture
def terminal(api: Api, tmp_path: Path, host: Host) -> Terminal:
    return make_terminal(api, tmp_path / "kns", host)


@pytest.mark.parametrize("status", [0, 4])
def test_a_cluster_is_a_step_of_a_pipeline(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path, status: int
) -> None:
    prepare_run(api, terminal, host)
    inside = f'cat "$KUBECONFIG" > {tmp_path}/seen; exit {status}'
    result = terminal.run("run", "hello", "-m", "kns-small", "-l", "ci", "--", "sh", "-c", inside)
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", "")
    assert f"127.0.0.1:{PORT}" in (tmp_path / "seen").read_text()
    (job,) = api.jobs.list_jobs()
    assert (job.spec.label, job.stop_reason) == ("ci", StopReason.TERMINATE)
    host.check_nothing_runs()


def test_a_job_that_fails_to_start_is_ended_and_the_program_not_run(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    def fail() -> None:
        (job,) = api.jobs.list_jobs()
        api.jobs.write_status(job, a_job().started().ended(JobState.FAILED).build().status)

    terminal.steps = [fail]
    line = terminal.refuse(1, "run", "hello", "--", "touch", str(tmp_path / "ran"))
    assert line.endswith("CMD was not run")
    assert not (tmp_path / "ran").exists()


def test_a_job_that_starts_too_slowly_is_ended(api: Api, terminal: Terminal) -> None:
    terminal.steps = [lambda: None]
    assert terminal.refuse(7, "run", "hello", "--timeout", "1", "--", "true").startswith(
        "job 1 did not serve within 1 s, so it was ended"
    )
    (job,) = api.jobs.list_jobs()
    assert job.stop_reason is StopReason.TERMINATE


def test_an_interrupted_submission_leaves_no_job(api: Api, terminal: Terminal) -> None:
    """The answer is lost, and Ctrl-C comes while the submission is to be repeated."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    terminal.steps = [interrupt]
    terminal.bridge.lose = 1
    assert terminal.run("run", "hello", "-m", "kns-small", "--", "true").exit_code == 130
    (job,) = api.jobs.list_jobs()
    assert job.stop_reason is StopReason.TERMINATE


def test_a_job_that_cannot_be_ended_is_named(api: Api, terminal: Terminal, host: Host) -> None:
    prepare_run(api, terminal, host)
    terminal.steps += [lambda: None] * 4
    terminal.bridge.unreachable = "/jarvice/terminate"
    line = terminal.refuse(6, "run", "hello", "--", "true")
    assert "goes on" in line
    assert "end it with `kns terminate" in line
    host.check_nothing_runs()


def test_a_sign_in_that_ends_while_the_program_runs_names_the_job(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    """Nobody ends the job then, so the user must know of it."""
    keycloak = FakeKeycloak(api.clock)
    terminal.keycloak, terminal.steps = keycloak, [keycloak.approve]
    assert terminal.run("login", "--url", URL, "--issuer", ISSUER).exit_code == 0
    for name in ("KNS_USERNAME", "KNS_APIKEY"):
        del terminal.environ[name]
    prepare_run(api, terminal, host)
    terminal.steps += [lambda: None] * 4
    started = tmp_path / "started"
    tell = terminal.bridge.change

    def end(answer: object) -> object:
        (job,) = api.jobs.list_jobs() or (None,)
        if job is not None and job.status.has_been_exposed and not started.exists():
            started.touch()  # CMD is started for this answer
            keycloak.ended = True
            api.clock.advance(TOKEN_S)
        return tell(answer)

    terminal.bridge.change = end
    line = terminal.refuse(6, "run", "hello", "-m", "kns-small", "--", "true")
    assert line.startswith("job 1 goes on: your sign-in by Keycloak has ended; run `kns login ")
    assert line.endswith("; end it with `kns terminate 1`")


def check_ended(api: Api) -> None:
    (job,) = api.jobs.list_jobs()
    assert job.stop_reason is StopReason.TERMINATE


def test_a_program_that_a_signal_ends_has_the_status_of_a_shell(api: Api, terminal: Terminal, host: Host) -> None:
    prepare_run(api, terminal, host)
    assert terminal.run("run", "hello", "--", "sh", "-c", "kill -KILL $$").exit_code == 128 + 9
    check_ended(api)


def test_a_job_that_ends_before_the_program_is_told_and_its_status_stays(
    api: Api, terminal: Terminal, host: Host
) -> None:
    prepare_run(api, terminal, host)
    seen = 0

    def end(answer: object) -> object:
        nonlocal seen
        (job,) = api.jobs.list_jobs()
        seen += job.status.has_been_exposed
        if seen == 1:  # after the answer for which CMD is started
            api.jobs.write_status(job, a_job().started().exposed().ended(JobState.TERMINATED).build().status)
        return answer

    terminal.bridge.change = end
    result = terminal.run("run", "hello", "-m", "kns-small", "--", "sh", "-c", "exit 4")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("warning: job 1 ended TERMINATED")
    assert result.stderr.endswith("before CMD did\n")


def test_a_deleted_record_is_an_ended_job(api: Api, terminal: Terminal, host: Host, tmp_path: Path) -> None:
    prepare_run(api, terminal, host)
    script = tmp_path / "delete"
    script.touch()

    def delete(answer: object) -> object:
        (job,) = api.jobs.list_jobs() or (None,)
        if job is not None and job.status.has_been_exposed and not script.exists():
            api.jobs.set_finalizer(job, present=False)
            api.jobs.delete(job)
        return answer

    terminal.bridge.change = delete
    result = terminal.run("run", "hello", "-m", "kns-small", "--", "rm", str(script))
    assert (result.exit_code, result.stderr) == (0, "")


def test_kns_that_stays_away_while_the_job_starts_is_status_6_and_names_the_job(api: Api, terminal: Terminal) -> None:
    def stop() -> None:
        terminal.bridge.fail = 1000

    terminal.steps = [stop, *[lambda: None] * 40]
    line = terminal.refuse(6, "run", "hello", "-m", "kns-small", "--", "true")
    assert "connection refused" in line
    assert "end it with `kns terminate 1`" in line


def test_a_restart_of_kns_does_not_matter(api: Api, terminal: Terminal, host: Host) -> None:
    prepare_run(api, terminal, host)

    def restart() -> None:
        terminal.bridge.fail = 3

    terminal.steps = [restart, lambda: None, lambda: None, lambda: None, *terminal.steps]
    assert terminal.run("run", "hello", "-m", "kns-small", "--", "true").exit_code == 0
    check_ended(api)


# --- Signals: the real program and a real server

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def _wait_for(happened: Callable[[], object]) -> None:
    tick, end = threading.Event(), PATIENCE_S
    while not happened():
        assert end > 0, "it does not happen"
        tick.wait(0.05)
        end -= 0.05


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_while_the_job_starts_ends_the_job(
    api: Api, terminal: Terminal, number: signal.Signals, status: int
) -> None:
    with serving_page(Ui(api)) as address:
        program = start_real(address, terminal, "run", "hello", "-m", "kns-small", "--", "true")
        _wait_for(api.jobs.list_jobs)
        program.send_signal(number)
        found, output, errors = finish_real(program)
    assert (found, output, errors) == (status, "", "")
    check_ended(api)


def test_with_nohup_it_survives_the_terminal(api: Api, terminal: Terminal, host: Host, tmp_path: Path) -> None:
    ready, end = tmp_path / "ready", tmp_path / "end"
    inside = f"touch {ready}; while [ ! -e {end} ]; do sleep 0.05; done; exit 3"
    with serving_page(Ui(api)) as address:
        program = start_real(address, terminal, "run", "hello", "--", "sh", "-c", inside, nohup=True)
        _wait_for(api.jobs.list_jobs)
        program.send_signal(signal.SIGHUP)
        serve(api, host)
        _wait_for(ready.exists)
        program.send_signal(signal.SIGHUP)
        end.touch()
        found, _, errors = finish_real(program)
    assert (found, errors) == (3, "")
    check_ended(api)


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_while_the_program_runs_reaches_it_and_ends_the_job(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """The program has time to clean up in the job's cluster: the job is ended after it."""
    name = number.name.removeprefix("SIG")
    ready, told = tmp_path / "ready", tmp_path / "told"
    inside = f'trap "touch {told}; exit 9" {name}; touch {ready}; while :; do sleep 0.05; done'
    with serving_page(Ui(api)) as address:
        program = start_real(address, terminal, "run", "hello", "-m", "kns-small", "--", "sh", "-c", inside)
        _wait_for(api.jobs.list_jobs)
        serve(api, host)
        _wait_for(ready.exists)
        program.send_signal(number)
        found, output, errors = finish_real(program)
    assert (found, output, errors) == (9, "", "")
    assert told.exists()
    assert list_left(terminal) == []
    check_ended(api)
    host.check_nothing_runs()
