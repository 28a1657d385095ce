"""What a hostile user, a careless administrator or a flaky cluster sends: the others' jobs stay visible and kept."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import websocket

from kns.adapters.clock import SystemClock
from kns.adapters.kube import channel
from kns.launcher.config.groups import RememberedGroups
from kns.launcher.config.options import MIN_MESSAGE_BYTES
from kns.launcher.config.profiles import ProfileFile, ProfileSection
from kns.launcher.frames import FrameReader, Outbox
from kns.launcher.plugin import Plugin
from kns.launcher.policy import apply_profile
from kns.launcher.ports import Options, Profile, Profiles
from kns.launcher.requests import TooManyError, parse_request
from kns.launcher.shapes import MOST_ENVIRONMENT_BYTES
from kns.launcher.status_streams import StatusStreams
from kns.launcher.streams import MOST_STREAMS, OutputStreams, ResourceStreams, Stream
from kns.model.errors import CLIP, InvalidInputError, KnsError, RefusedError, UnavailableError
from kns.plain import names
from kns.plain import views as plain_views
from kns.plain.errors import OutputMissingError, UnknownJobError
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob, Variable
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.objects import build_job, mark_job
from kns.plain.output import Kind, Output
from kns.plain.state import State, Status
from kns.plain.stored import MAX_STORED_BYTES, read_stored
from kns.plain.views import Usage, View
from tests.fakes.plain_cluster import MemoryCluster
from tests.patience import PATIENCE_S


def make_view(job_id: str, status: Status = Status.RUNNING, *, environment: int = 0) -> View:
    job = PlainJob("a", "ana", Container("debian"), environment=(Variable("A", "x" * environment),))
    obj = mark_job(build_job(job, generate_name="a-"), job, cluster="K", generate_name="a-")
    obj["metadata"]["name"] = job_id
    return View(job_id, job, read_stored(obj), State(status, pod=f"{job_id}-pod", container="c", has_run=True), {})


class Jobs:
    """The jobs as the streams and the plugin see them, all in memory."""

    def __init__(self, *views: View) -> None:
        self.views = {view.id: view for view in views}
        self.listeners: list[Callable[[str], None]] = []
        self.before_answer: Callable[[], None] = lambda: None
        self.measured: list[str] = []
        self.usage_error: KnsError | None = None

    def subscribe(self, listener: Callable[[str], None]) -> None:
        self.listeners.append(listener)

    def list_views(self, user: str = "*") -> list[View]:
        found = list(self.views.values())
        self.before_answer()
        return found

    def find(self, job_id: str, user: str = "*") -> View:
        view = self.views.get(job_id)
        self.before_answer()
        if view is None:
            raise UnknownJobError(f"Job {job_id} could not be found for user {user}")
        return view

    def peek(self, job_id: str) -> View | None:
        return self.views.get(job_id)

    def confirm(self, job_id: str) -> View | None:
        return self.peek(job_id)

    def has_failed(self, job_id: str) -> bool:
        return False

    def read_usage(self, job_id: str) -> Usage | None:
        self.measured.append(job_id)
        if self.usage_error is not None:
            raise self.usage_error
        return Usage(1.0, 1.0)


class Sink(io.BytesIO):
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in FrameReader(max_bytes=1 << 30).feed(self.getvalue())]


class NoProfiles:
    def for_user(self, user: str) -> Profile:
        return Profile()


def make_plugin(jobs: Any, *, max_bytes: int = 5 << 20, profiles: Profiles | None = None) -> tuple[Plugin, Sink]:
    sink = Sink()
    outbox = Outbox(sink, max_bytes=max_bytes)
    plugin = Plugin(
        Options(),
        jobs,
        profiles or NoProfiles(),
        outbox,
        make_output=lambda *_: pytest.fail("opened"),
        await_cluster=lambda: None,
    )
    return plugin, sink


def ask(plugin: Plugin, message_type: int, **fields: Any) -> None:
    plugin.accept(json.dumps({"messageType": message_type, "requestId": 7, **fields}).encode())
    waiting = plugin._calls if plugin._waiting.empty() else plugin._waiting
    plugin.answer(waiting.get_nowait())


# --- what one job does to all


DEEP = "[" * 40 + "]" * 40


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "1" * 400, '"\\ud800"', '{"\\udfff": 1}', DEEP])
@pytest.mark.parametrize("key", ["mounts", "config"])
def test_what_is_reported_back_can_be_read_by_everybody(key: str, value: str) -> None:
    """It would be in each list of all jobs, and make it unreadable."""
    item = {"mountPath": "/x", "type": "host", "source": {"path": "/x"}, "name": "a", "more": "MORE"}
    text = json.dumps({"name": "a", "container": {"image": "i"}, key: [item]})
    data = json.loads(text.replace('"MORE"', value))
    with pytest.raises(InvalidInputError, match=key):
        apply_profile(data, Profile(), user="ana", share_process_namespace=True)


def make_largest_view() -> View:
    """Every limit of a submission is reached, with characters that are long in JSON."""
    variables = (Variable("A", "\x01" * (MOST_ENVIRONMENT_BYTES - 1)),)
    job = PlainJob("n" * (MAX_STORED_BYTES - 1024), "ana", Container("debian"), environment=variables)
    obj = mark_job(build_job(job, generate_name="a-"), job, cluster="K", generate_name="a-")
    obj["metadata"]["name"] = "a-1"
    return View("a-1", job, read_stored(obj), State(Status.RUNNING, "\N{PARTY POPPER}" * CLIP), {})


def test_the_largest_job_fits_the_smallest_messages_that_a_site_may_set() -> None:
    """A state that does not fit would never arrive, and the answer to a submission would be an error."""
    jobs = Jobs(make_largest_view())
    plugin, sink = make_plugin(jobs, max_bytes=MIN_MESSAGE_BYTES)
    for number in range(2**64 - MOST_STREAMS, 2**64):
        plugin._statuses._streams[number] = Stream(number, "*", "*")
    ask(plugin, 3, username="*", jobId="a-1")
    report(plugin._statuses, ["a-1"])
    answer, change = sink.messages()
    assert [job["id"] for job in answer["jobs"]] == ["a-1"]
    assert (change["id"], len(change["sequences"])) == ("a-1", MOST_STREAMS)


def test_large_jobs_hide_no_others() -> None:
    """The whole list does not fit; what is left of it has every job."""
    jobs = Jobs(*(make_view(f"a-{number}", environment=2000) for number in range(5)))
    plugin, sink = make_plugin(jobs, max_bytes=6000)
    ask(plugin, 3, username="*", jobId="*")
    (answer,) = sink.messages()
    assert [job["id"] for job in answer["jobs"]] == [f"a-{number}" for number in range(5)]
    assert answer["responseId"] == 0
    assert "environment" not in answer["jobs"][0]
    ask(plugin, 3, username="*", jobId="a-1")
    assert sink.messages()[1]["jobs"][0]["environment"][0]["name"] == "A"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("environment", [{"name": "A", "value": "x" * 300_000}]),
        ("exposedPorts", [{"targetPort": port} for port in range(1, 400)]),
    ],
)
def test_what_all_jobs_share_is_bounded(key: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=key):
        apply_profile(
            {"name": "a", "container": {"image": "i"}, key: value},
            Profile(),
            user="ana",
            share_process_namespace=True,
        )


def test_a_name_of_marks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalization needs quadratic time for them: hours for a name of a mebibyte, in which no thread runs."""
    normalized: list[str] = []

    def note(_form: str, text: str) -> str:
        normalized.append(text)
        return text

    monkeypatch.setattr("unicodedata.normalize", note)
    assert names.generate_name("\u0301\u0316" * 500_000, "ana") == "ana-"
    assert len(normalized[0]) < 1000


def test_a_service_of_another_protocol() -> None:
    """A template may add ports. The job and all others must stay readable."""
    ports = [
        {"targetPort": 80, "nodePort": 30080, "protocol": "SCTP"},
        {"targetPort": 81, "nodePort": 30081, "protocol": "TCP"},
    ]
    assert plain_views._read_published({"spec": {"ports": ports}}) == {(81, "TCP"): 30081}


class NoCluster:
    """A cluster that must not be called, except for what a test adds."""

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        del on_change


@pytest.mark.parametrize("stem", ["../../x-", "/etc/cron.d/x-", "a?b-", "A-"])
def test_a_name_of_a_template_is_no_path(tmp_path: Path, stem: str) -> None:
    """A template may build it from what a user calls a job."""

    def build(job: PlainJob, generate_name: str) -> dict[str, Any]:
        obj = build_job(job, generate_name=generate_name)
        obj["metadata"]["generateName"] = stem
        return obj

    inputs = InputFiles(tmp_path / "a" / "b")
    jobs: Any = PlainJobs(NoCluster(), name="K", build=Build(build, pytest.fail), inputs=inputs)  # type: ignore[arg-type]  # stand-ins have what is called here
    with pytest.raises(InvalidInputError, match="makes the name"):
        jobs.submit(PlainJob("a", "ana", Container("i"), stdin="x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["metadata", "template"])
def test_an_empty_metadata_of_a_template(place: str) -> None:
    job = PlainJob("a", "ana", Container("i"))
    obj = build_job(job, generate_name="a-")
    (obj if place == "metadata" else obj["spec"]["template"])["metadata"] = None
    marked = mark_job(obj, job, cluster="K", generate_name="a-")
    assert marked["metadata"]["generateName"] == "a-"
    assert marked["spec"]["template"]["metadata"]["labels"][names.LABEL] == "K"


# --- streams


def test_a_refused_stream_leaves_nothing() -> None:
    plugin, sink = make_plugin(Jobs())
    for message_type in (4, 6, 7):
        ask(plugin, message_type, username="ana", jobId="none-1")
    assert [message["errorCode"] for message in sink.messages()] == [3, 3, 3]
    assert plugin._opening == set()


def report(streams: StatusStreams, job_ids: list[str]) -> None:
    """What `run` does with the jobs that changed, in one thread."""
    for job_id in job_ids:
        if not streams._look(job_id):
            streams._confirm(job_id)


@pytest.mark.parametrize("job_id", ["*", "a-1"])
def test_a_change_while_a_status_stream_opens(job_id: str) -> None:
    """Before its first message, and after its state was read: otherwise the stream would show the old one for hours."""
    sink, jobs = Sink(), Jobs(make_view("a-1"))
    streams = StatusStreams(jobs, Outbox(sink, max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    stop = threading.Event()

    def change() -> None:
        jobs.before_answer = lambda: None
        jobs.views["a-1"] = make_view("a-1", Status.FINISHED)
        streams._note("a-1")
        if not streams._writing.locked():  # the thread that writes changes is quick
            report(streams, streams._take(stop))

    jobs.before_answer = change
    streams.open(1, "*", job_id)
    stop.set()
    report(streams, streams._take(stop))
    assert sink.messages()[-1]["status"] == "Finished"


class SlowJobs(Jobs):
    """The API server does not answer about any end until `answers` is set."""

    def __init__(self, *views: View) -> None:
        super().__init__(*views)
        self.is_asked, self.answers = threading.Event(), threading.Event()

    def confirm(self, job_id: str) -> View | None:
        read = self.peek(job_id)
        self.is_asked.set()
        assert self.answers.wait(PATIENCE_S)
        return read


class Followed(Sink):
    def __init__(self) -> None:
        super().__init__()
        self._written = threading.Condition()

    def write(self, frame: Any) -> int:
        with self._written:
            self._written.notify_all()
            return super().write(frame)

    def states(self, job_id: str) -> list[str]:
        return [message["status"] for message in self.messages() if message["id"] == job_id]

    def wait_for(self, job_id: str, *statuses: str) -> None:
        """Until these are all states that were sent of a job."""
        with self._written:
            assert self._written.wait_for(lambda: self.states(job_id) == list(statuses), PATIENCE_S), self.messages()


@pytest.fixture
def slow() -> Iterator[tuple[SlowJobs, StatusStreams, Followed]]:
    """Two jobs, the end of one of which waits for the API server, and a stream of both."""
    sink, jobs, stop = Followed(), SlowJobs(make_view("a-1"), make_view("a-2")), threading.Event()
    streams = StatusStreams(jobs, Outbox(sink, max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    streams.open(1, "*", "*")
    thread = threading.Thread(target=streams.run, args=(stop,), daemon=True)
    thread.start()
    jobs.views["a-1"] = make_view("a-1", Status.FINISHED)
    streams._note("a-1")
    assert jobs.is_asked.wait(PATIENCE_S)
    yield jobs, streams, sink
    stop.set()
    jobs.answers.set()
    streams.wake()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_slow_api_server_holds_up_the_end_of_a_job_and_no_other_state(
    slow: tuple[SlowJobs, StatusStreams, Followed],
) -> None:
    jobs, streams, sink = slow
    jobs.views["a-2"] = make_view("a-2", Status.SUSPENDED)
    streams._note("a-2")
    sink.wait_for("a-2", "Running", "Suspended")
    opener = threading.Thread(target=streams.open, args=(2, "*", "*"), daemon=True)
    opener.start()
    opener.join(PATIENCE_S)
    assert not opener.is_alive()
    sink.wait_for("a-2", "Running", "Suspended", "Suspended")
    assert sink.states("a-1") == ["Running"]
    for _ in range(3):
        assert streams._look("a-1"), "it is asked about already"
    jobs.answers.set()
    sink.wait_for("a-1", "Running", "Finished")
    (end,) = [message for message in sink.messages() if message["status"] == "Finished"]
    assert [each["requestId"] for each in end["sequences"]] == [1, 2]


def test_what_changed_while_an_end_was_confirmed_is_what_the_launcher_reads(
    slow: tuple[SlowJobs, StatusStreams, Followed],
) -> None:
    jobs, _, sink = slow
    jobs.views["a-1"] = make_view("a-1", Status.KILLED)
    jobs.answers.set()
    sink.wait_for("a-1", "Running", "Killed")


def test_a_job_that_the_api_server_does_not_have_is_gone(slow: tuple[SlowJobs, StatusStreams, Followed]) -> None:
    """Its watch may be behind."""
    jobs, streams, sink = slow
    jobs.confirm = lambda job_id: None  # type: ignore[method-assign]
    jobs.views["a-2"] = make_view("a-2", Status.FINISHED)
    streams._note("a-2")
    sink.wait_for("a-2", "Running", "Killed")


def test_a_job_that_is_deleted_before_its_first_state_was_shown() -> None:
    """The Launcher knows it from the response, and would wait for its end."""
    sink, jobs = Sink(), Jobs()
    streams = StatusStreams(jobs, Outbox(sink, max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    streams.open(1, "*", "*")
    streams.report_submitted(make_view("a-1"))
    for changed in streams._take(threading.Event()):
        streams._look(changed)
    assert [message["status"] for message in sink.messages()] == ["Killed"]


def test_the_submission_of_a_job_does_not_replace_a_later_state() -> None:
    sink, jobs = Sink(), Jobs(make_view("a-1", Status.FINISHED))
    streams = StatusStreams(jobs, Outbox(sink, max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    streams.open(1, "*", "*")
    streams.report_submitted(make_view("a-1"))
    report(streams, ["a-1"])
    assert [message["status"] for message in sink.messages()] == ["Finished"]


def test_changes_of_one_job_do_not_stop_the_measuring_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.streams.USAGE_INTERVAL_S", 0.0)
    jobs = Jobs(make_view("a-1"), make_view("a-2"))
    streams = ResourceStreams(jobs, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    for number in (1, 2):
        streams.open(number, "*", f"a-{number}")
    streams._take(threading.Event())
    streams._note("a-1")
    assert streams._take(threading.Event()) == ["a-1", "a-2"]


def test_failures_of_cancelled_streams_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.streams.USAGE_INTERVAL_S", 0.0)
    jobs = Jobs(make_view("a-1"))
    jobs.usage_error = UnavailableError("no answer")
    streams = ResourceStreams(jobs, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    streams.open(1, "*", "a-1")
    streams._measure_safely("a-1")
    streams.cancel(1)
    streams._take(threading.Event())
    assert streams._failures == {}


class Broken:
    def watch(self, job_id: str, event: threading.Event) -> None: ...

    def unwatch(self, job_id: str, event: threading.Event) -> None: ...

    def find(self, job_id: str) -> View:
        return make_view(job_id, Status.FINISHED)

    def can_split_streams(self) -> bool:
        return True

    def open_log(self, *_: object, **options: object) -> "Broken":
        if options["stream"] == "Stdout":
            raise OutputMissingError("the log is broken")
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None: ...


def test_a_broken_split_log_ends_its_stream_with_an_error() -> None:
    """Otherwise the Launcher would wait for its end."""
    sink, broken = Sink(), Broken()
    streams = OutputStreams(lambda job_id, kind: Output(broken, broken, job_id, kind), Outbox(sink, max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    output = streams._make("a-1", Kind.MIXED)
    streams._outputs[1] = output
    streams._run(1, output)
    assert [(message["messageType"], message["errorCode"]) for message in sink.messages()] == [(-1, 7)]


def test_output_fits_the_messages_that_the_launcher_takes() -> None:
    """`max-message-size` may be smaller than what the API server sends at a time."""
    text, max_bytes = "a\x00\N{SNOWMAN}\N{PARTY POPPER}" * 20_000, 4096

    class Loud(Broken):
        def open_log(self, *_: object, **__: object) -> "Broken":
            return self

        def can_split_streams(self) -> bool:
            return False

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"2026-01-05T14:15:30Z " + text.encode()])

    sink, loud = Sink(), Loud()
    outbox = Outbox(sink, max_bytes=max_bytes)
    streams = OutputStreams(lambda job_id, kind: Output(loud, loud, job_id, kind), outbox)  # type: ignore[arg-type]  # stand-ins have what is called here
    output = streams._make("a-1", Kind.MIXED)
    streams._outputs[2**64 - 1] = output
    streams._run(2**64 - 1, output)
    *pieces, last = sink.messages()
    assert "".join(piece["output"] for piece in pieces) == text
    assert [message["seqId"] for message in (*pieces, last)] == list(range(1, len(pieces) + 2))
    assert last["complete"] is True


def test_a_log_that_always_breaks_at_the_same_place_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with a damaged file sends the same beginning each time, which is no progress."""
    monkeypatch.setattr("kns.plain.output._REOPEN_S", 0.0)
    monkeypatch.setattr("kns.plain.output._MOST_FAILURES", 3)
    opened: list[int] = []

    class Damaged(Broken):
        def open_log(self, *_: object, **options: object) -> "Broken":
            opened.append(1)
            assert len(opened) < 100
            return self

        def __iter__(self) -> Iterator[bytes]:
            yield b"2026-01-05T14:15:30Z one\n"
            raise UnavailableError("the connection broke")

    damaged, texts = Damaged(), []
    output = Output(damaged, damaged, "a-1", Kind.STDOUT)  # type: ignore[arg-type]  # stand-ins have what is called here
    with pytest.raises(OutputMissingError, match="cannot be read"):
        output.run(lambda _, text: texts.append(text))
    assert texts == ["one\n"]


# --- keeper and input


class Kept(NoCluster):
    def __init__(self, error: KnsError) -> None:
        self.error = error
        self.sent = 0

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        self.sent += 1
        raise self.error


def test_an_input_that_nobody_reads_is_sent_once(tmp_path: Path) -> None:
    """Each attempt holds up a worker, and the container's input ends with the first one."""
    inputs, cluster = InputFiles(tmp_path), Kept(RefusedError("a part of the input may be missing"))
    view = make_view("a-1")
    view = View(view.id, view.job, _with_stdin(view), view.state, {})
    keeper = Keeper(Jobs(view), cluster, inputs=inputs, clock=SystemClock(), expiry=timedelta(1))  # type: ignore[arg-type]  # stand-ins have what is called here
    inputs.store("a-1", "x", user="ana")
    for _ in range(3):
        keeper.look("a-1")
    assert cluster.sent == 1


def _with_stdin(view: View) -> Any:
    stored = {name: getattr(view.stored, name) for name in view.stored.__slots__}
    return type(view.stored)(**{**stored, "stdin_token": "true"})


class Socket:
    """A connection to a container. Each call takes some of its time limit, but not all of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.limit_s = 0.0
        self.calls = 0
        monkeypatch.setattr(channel, "_connect", lambda *_, **__: self)
        monkeypatch.setattr(channel, "time", self)

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None: ...

    def monotonic(self) -> float:
        return self.now_s

    def settimeout(self, limit_s: float) -> None:
        self.limit_s = limit_s

    def getsubprotocol(self) -> str:
        return channel.V5

    def send_binary(self, data: bytes) -> None:
        self._take_time()

    def recv_data(self, control_frame: bool = False) -> tuple[int, bytes]:
        self._take_time()
        while not control_frame:
            self._take_time()  # as the library, which answers pings and goes on
        return websocket.ABNF.OPCODE_PING, b"?"

    def _take_time(self) -> None:
        self.calls += 1
        assert self.calls < 50, "it does not end"
        self.now_s += min(4.0, self.limit_s)


def test_a_part_of_an_input_is_no_reason_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Socket):
        def send_binary(self, data: bytes) -> None:
            raise TimeoutError("the socket is full")

    Silent(monkeypatch)
    with pytest.raises(RefusedError, match="may be missing"):
        channel.send_input(None, "/x", container="c", data=b"x", timeout_s=1.0)  # type: ignore[arg-type]  # nothing is connected


def test_a_process_that_reads_slowly_does_not_get_more_time_for_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Socket(monkeypatch)
    with pytest.raises(RefusedError, match="deadline"):
        channel.send_input(None, "/x", container="c", data=b"x" * 5_000_000, timeout_s=15.0)  # type: ignore[arg-type]  # nothing is connected
    assert slow.now_s == 15.0


def test_a_server_that_only_pings_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nested job's user controls its API server."""
    pinging = Socket(monkeypatch)
    with pytest.raises(RefusedError, match="deadline"):
        channel.send_input(None, "/x", container="c", data=b"", timeout_s=15.0)  # type: ignore[arg-type]  # nothing is connected
    with pytest.raises(UnavailableError, match="deadline"):
        channel.run_command(None, "/x", container="c", command=("true",), timeout_s=15.0)  # type: ignore[arg-type]  # nothing is connected
    assert pinging.now_s == 30.0


def test_a_bug_in_a_list_does_not_end_the_keeper(tmp_path: Path) -> None:
    jobs = Jobs(make_view("a-1"))

    def crash() -> None:
        raise TypeError("an object that nobody expected")

    jobs.before_answer = crash
    keeper = Keeper(jobs, NoCluster(), inputs=InputFiles(tmp_path), clock=SystemClock(), expiry=timedelta(1))  # type: ignore[arg-type]  # stand-ins have what is called here
    keeper._add_all()
    assert keeper._due == set()


# --- signals


BLOCKED = """
import os, sys
from kns.launcher import process
process._END_S = 1
with process.signals(lambda: None):
    sys.stderr.write("x")
    sys.stderr.flush()
    while True:
        os.write(1, b"y" * 65536)  # nobody reads
"""


def test_sigterm_ends_a_plugin_whose_launcher_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", BLOCKED],
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as child,
    ):
        theirs.close()
        assert child.stderr is not None
        assert child.stderr.read(1) == b"x"
        child.send_signal(signal.SIGTERM)
        try:
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()


# --- what waits


class Stuck:
    """An output that does not notice its cancel until the API server answers."""

    def __init__(self) -> None:
        self.answered = threading.Event()

    def run(self, emit: object) -> None:
        del emit
        self.answered.wait()

    def cancel(self) -> None: ...


def test_cancelled_outputs_count_until_their_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who opens and closes a page again and again would otherwise start threads without a bound."""
    monkeypatch.setattr("kns.launcher.streams.MOST_OUTPUTS", 2)
    stuck = Stuck()
    streams = OutputStreams(lambda *_: stuck, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    for number in (1, 2):
        streams.open(number, "*", "a-1", Kind.MIXED)
        streams.cancel(number)
    try:
        with pytest.raises(TooManyError, match="2 streams"):
            streams.open(3, "*", "a-1", Kind.MIXED)
    finally:
        stuck.answered.set()


def test_an_output_without_a_thread_holds_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system limits the number of threads of a container."""
    monkeypatch.setattr("kns.launcher.streams.MOST_OUTPUTS", 2)
    stuck = Stuck()
    streams = OutputStreams(lambda *_: stuck, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        for number in (1, 2, 3):
            with pytest.raises(TooManyError, match="another thread"):
                streams.open(number, "ana", "a-1", Kind.MIXED)
    streams.open(3, "ana", "a-1", Kind.MIXED)
    stuck.answered.set()


def test_one_user_has_a_share_of_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.streams.MOST_OUTPUTS_OF_ONE", 2)
    stuck = Stuck()
    streams = OutputStreams(lambda *_: stuck, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    try:
        for number in (1, 2):
            streams.open(number, "ana", "a-1", Kind.MIXED)
            streams.cancel(number)
        with pytest.raises(TooManyError, match="2 streams of this kind are open for this user"):
            streams.open(3, "ana", "a-1", Kind.MIXED)
        streams.open(4, "berta", "b-1", Kind.MIXED)
    finally:
        stuck.answered.set()


def test_jobs_that_go_while_nobody_listens_are_forgotten() -> None:
    jobs = Jobs(make_view("a-1"))
    streams = StatusStreams(jobs, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    streams.open(1, "*", "*")
    streams.cancel(1)
    jobs.views.clear()
    streams._look("a-1")
    assert streams._shown == {}


@pytest.mark.parametrize("kind", [StatusStreams, ResourceStreams])
@pytest.mark.proves("security", "use up streams, requests or operations")
def test_one_user_has_a_share_of_the_streams(
    kind: type[StatusStreams | ResourceStreams], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Administrators, a Launcher without authorization, and Workbench itself ask for many users."""
    monkeypatch.setattr("kns.launcher.streams.MOST_STREAMS_OF_ONE", 2)
    monkeypatch.setattr("kns.launcher.streams.MOST_STREAMS", 6)
    outbox = Outbox(Sink(), max_bytes=1 << 20)
    streams = kind(Jobs(make_view("a-1")), outbox, shared=("*", "rstudio-server"))  # type: ignore[arg-type]  # stand-ins have what is called here
    for number in (1, 2):
        streams.open(number, "ana", "a-1")
    with pytest.raises(TooManyError, match="for this user"):
        streams.open(3, "ana", "a-1")
    for number, user in enumerate(("*", "*", "rstudio-server", "rstudio-server"), 4):
        streams.open(number, user, "a-1")
    with pytest.raises(TooManyError, match="6 streams"):
        streams.open(8, "*", "a-1")
    streams.cancel(1)
    streams.open(9, "ana", "a-1")


def test_a_refused_stream_is_an_error_of_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.streams.MOST_STREAMS_OF_ONE", 0)
    plugin, sink = make_plugin(Jobs(make_view("a-1")))
    ask(plugin, 4, username="ana", jobId="*")
    (answer,) = sink.messages()
    assert (answer["messageType"], answer["errorCode"], answer["responseId"]) == (-1, 0, 0)
    assert "cancel some of them" in answer["errorMessage"]
    assert plugin._opening == set()


def test_many_streams_share_what_they_have_shown() -> None:
    """Each stream remembers what it sent of each job; a thousand streams of ten thousand jobs would be too much."""
    jobs = Jobs(make_view("a-1"))
    streams = StatusStreams(jobs, Outbox(Sink(), max_bytes=1 << 20))  # type: ignore[arg-type]  # stand-ins have what is called here
    for number in (1, 2):
        streams.open(number, "*", "*")
    one, two = (stream.sent["a-1"] for stream in streams._streams.values())
    assert one is two
    del jobs.views["a-1"]
    streams._look("a-1")
    assert streams._shown == {}


@pytest.mark.proves("security", "use up streams, requests or operations")
def test_one_user_has_a_share_of_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.plugin._MOST_WAITING_OF_ONE", 3)
    monkeypatch.setattr("kns.launcher.plugin._MOST_CONTROLS_OF_ONE", 2)
    plugin, sink = make_plugin(Jobs())

    def accept(message_type: int, user: str, number: int) -> None:
        message = {"messageType": message_type, "requestId": number, "username": user, "jobId": "a", "operation": 2}
        plugin.accept(json.dumps(message).encode())

    for number in range(5):
        accept(9, "ana", number)
        accept(5, "ana", 10 + number)
    accept(9, "berta", 20)
    accept(9, "*", 21)
    for number in range(22, 27):  # Workbench itself, for many users
        accept(9, "rstudio-server", number)
    refused = [(each["requestId"], each["errorCode"]) for each in sink.messages()]
    assert refused == [(12, 9), (3, 0), (13, 9), (4, 0), (14, 9)]
    stop = threading.Event()
    threading.Thread(target=plugin._work, args=(plugin._waiting, stop), daemon=True).start()
    with plugin._room:
        assert plugin._room.wait_for(lambda: not plugin._held[(False, "ana")], PATIENCE_S)
    accept(9, "ana", 30)
    assert 30 not in [each["requestId"] for each in sink.messages() if each["messageType"] == -1]


@pytest.mark.proves("security", "use up streams, requests or operations")
def test_one_user_has_a_share_of_the_bytes_that_wait() -> None:
    """Three large submissions of one user, which wait for a slow API server, would hold up what everybody sends."""
    plugin, sink = make_plugin(Jobs())

    def accept(user: str, number: int, size: int, message_type: int = 2) -> None:
        message = {"messageType": message_type, "requestId": number, "username": user, "jobId": "a", "operation": 2}
        plugin.accept(json.dumps({**message, "job": {"stdin": "x" * size}}).encode())

    def accept_all() -> None:
        for number in range(3):
            accept("ana", number, 5_000_000)
        accept("ana", 3, 100)
        accept("berta", 4, 5_000_000)
        accept("berta", 5, 2_000_000, message_type=5)
        accept("*", 6, 5_000_000)

    reader = threading.Thread(target=accept_all, daemon=True)
    reader.start()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    refused = [(each["requestId"], each["errorCode"]) for each in sink.messages()]
    assert refused == [(1, 0), (2, 0), (5, 9)]
    assert "too large together" in sink.messages()[0]["errorMessage"]
    stop = threading.Event()
    threading.Thread(target=plugin._work, args=(plugin._calls, stop), daemon=True).start()
    with plugin._room:
        assert plugin._room.wait_for(lambda: not plugin._held and not plugin._held_bytes, PATIENCE_S)
    accept("ana", 7, 5_000_000)
    assert "too large together" not in sink.messages()[-1]["errorMessage"]


def test_commands_in_containers_do_not_hold_up_other_requests() -> None:
    """A shell of a user's image may hang until its time is over, and the user may ask again and again."""
    plugin, sink = make_plugin(Jobs())
    for number in range(200):
        plugin.accept(json.dumps({"messageType": 5, "requestId": number, "jobId": "a", "operation": 2}).encode())
    assert plugin._waiting.empty()
    assert {message["messageType"] for message in sink.messages()} == {-1}
    assert 0 < plugin._controls.qsize() < 200


@pytest.mark.parametrize("message_type", [2, 9])
def test_a_directory_that_hangs_holds_up_no_other_request(message_type: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The groups of users decide their profiles, and a directory service may answer after minutes."""
    monkeypatch.setattr("kns.launcher.config.groups._MOST_WAIT_S", 0.0)
    answers, stop = threading.Event(), threading.Event()

    def hang(_: str) -> tuple[str, ...]:
        answers.wait(2 * PATIENCE_S)
        return ("interns",)

    sections = (ProfileSection("@interns", {"nested": True}),)
    profiles = ProfileFile(sections, groups=RememberedGroups(hang))
    plugin, sink = make_plugin(Jobs(make_view("a-1")), profiles=profiles)
    for number in range(20):
        message = {"messageType": message_type, "requestId": number, "username": f"user-{number}", "job": {}}
        plugin.accept(json.dumps(message).encode())
    plugin.accept(json.dumps({"messageType": 3, "requestId": 99, "username": "ana", "jobId": "*"}).encode())
    for requests in (plugin._waiting, plugin._calls):  # one worker for each
        threading.Thread(target=plugin._work, args=(requests, stop), daemon=True).start()
    try:
        with plugin._room:
            assert plugin._room.wait_for(lambda: not plugin._held, PATIENCE_S)
    finally:
        answers.set()
    *refused, listed = sorted(sink.messages(), key=lambda each: int(each["requestId"]))
    assert [job["id"] for job in listed["jobs"]] == ["a-1"]
    assert [each["errorCode"] for each in refused] == [0] * 20
    assert all("directory service does not answer" in each["errorMessage"] for each in refused)


def test_a_slow_cluster_does_not_hold_up_what_is_in_memory() -> None:
    """Each submission waits for the API server for seconds. Lists and states are known without it."""
    plugin, _ = make_plugin(Jobs(make_view("a-1")))

    def accept(message_type: int, job_id: str = "") -> None:
        plugin.accept(json.dumps({"messageType": message_type, "requestId": 1, "jobId": job_id}).encode())

    for message_type in (1, 2, 8):
        accept(message_type, "a-1")
    for message_type in (3, 4, 6, 7):
        accept(message_type, "unknown-1")
    assert (plugin._calls.qsize(), plugin._waiting.qsize()) == (7, 0)
    for message_type in (3, 4, 6, 7):
        accept(message_type, "a-1")
        accept(message_type, "*")
    accept(9)
    accept(42)
    assert (plugin._calls.qsize(), plugin._waiting.qsize()) == (7, 10)


@pytest.mark.parametrize("message_type", [2, 5])
def test_a_change_that_waited_too_long_is_not_made(message_type: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Launcher has given up, so nobody would know of the job."""
    monkeypatch.setattr("kns.launcher.plugin._STALE_S", -1.0)
    plugin, sink = make_plugin(Jobs(make_view("a-1")))
    job = {"name": "a", "container": {"image": "i"}, "user": "ana"}
    request = {
        "messageType": message_type,
        "requestId": 7,
        "username": "ana",
        "job": job,
        "jobId": "a-1",
        "operation": 2,
    }
    plugin.answer(parse_request(json.dumps(request).encode()))
    ask(plugin, 3, username="ana", jobId="a-1")
    refused, answered = sink.messages()
    assert (refused["errorCode"], "nothing was done" in refused["errorMessage"]) == (5, True)
    assert answered["messageType"] == 2


def test_a_job_whose_template_took_too_long_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the site may run for seconds, after the request has waited for its turn."""

    def build(job: PlainJob, generate_name: str) -> dict[str, Any]:
        monkeypatch.setattr("kns.launcher.plugin._STALE_S", -1.0)
        return build_job(job, generate_name=generate_name)

    cluster = MemoryCluster()
    plugin, sink = make_plugin(
        PlainJobs(cluster, name="K", build=Build(build, lambda *_: {}), inputs=InputFiles(tmp_path))
    )
    ask(plugin, 2, username="ana", job={"name": "a", "container": {"image": "i"}})
    assert sink.messages()[0]["errorCode"] == 5
    assert cluster.list_jobs() == []


@pytest.mark.parametrize("user", ["a\0b", "\ud800", "x" * 300])
@pytest.mark.parametrize("place", ["username", "job"])
def test_a_user_that_no_reader_could_read_submits_nothing(user: str, place: str) -> None:
    """It would be in each list of all jobs."""
    plugin, sink = make_plugin(Jobs())
    job = {"name": "a", "container": {"image": "i"}, **({"user": user} if place == "job" else {})}
    ask(plugin, 2, username=user if place == "username" else "*", job=job)
    assert sink.messages()[0]["errorCode"] == 2


@pytest.mark.parametrize("user", ["x" * 300, 7, ["ana"], False])
def test_a_user_that_is_none_submits_for_nobody_else(user: object) -> None:
    """A request without a user may name anybody, as one of everybody."""
    plugin, sink = make_plugin(Jobs())
    ask(plugin, 2, username=user, job={"name": "a", "user": "berta", "container": {"image": "i"}})
    (answer,) = sink.messages()
    assert (answer["requestId"], answer["errorCode"]) == (7, 2)
    assert answer["errorMessage"].startswith("username: is not a text")


def test_an_error_can_be_read_whatever_it_repeats() -> None:
    plugin, sink = make_plugin(Jobs())
    ask(plugin, 3, username="ana", jobId="\ud800")
    assert sink.messages()[0]["errorMessage"] == "Job ? could not be found for user ana"


def test_large_requests_wait_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand submissions of five mebibytes would need all memory while the cluster does not answer."""
    blocked = threading.Event()

    class Room(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            blocked.set()
            return super().wait(timeout)

    monkeypatch.setattr("kns.launcher.plugin._MOST_WAITING_BYTES", 1000)
    plugin, _ = make_plugin(Jobs())
    plugin._room = Room()
    frame = json.dumps({"messageType": 42, "requestId": 1, "x": "y" * 2000}).encode()
    plugin.accept(frame)
    other = threading.Thread(target=plugin.accept, args=(frame,), daemon=True)
    other.start()
    assert blocked.wait(PATIENCE_S)
    assert plugin._waiting.qsize() == 1
    stop = threading.Event()
    threading.Thread(target=plugin._work, args=(plugin._waiting, stop), daemon=True).start()
    other.join(PATIENCE_S)
    assert not other.is_alive()
