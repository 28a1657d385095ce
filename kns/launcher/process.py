"""
The running plugin: connects the parts, reads requests from one file descriptor and writes frames to another.

The caller has begun the heartbeats, because the Launcher kills a plugin that misses three of them. The end of the input
and SIGTERM end the process in order; both may come at once.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster, WatchLimits
from kns.adapters.kube.server_time import HostClock
from kns.launcher.config.credentials import Account, TokenFileError, find_account, read_token_file
from kns.launcher.frames import FrameReader, FrameTooLargeError, Outbox
from kns.launcher.nested.cluster import NestedJobs
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.site import RemoteKns
from kns.launcher.plugin import Plugin
from kns.launcher.ports import Names, Object, Options, Profiles, Renderer
from kns.launcher.requests import Code
from kns.logs import get_logger
from kns.model import names as kns_names
from kns.model.errors import KnsError, UnavailableError
from kns.plain import names
from kns.plain.inputs import InputFiles
from kns.plain.job import PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import KEEP
from kns.plain.objects import service_ports_json
from kns.plain.output import Kind, Output
from kns.plain.ports import Cluster
from kns.ports import Clock

log = get_logger(__name__)

BOOTSTRAP_S = 100.0  # the Launcher gives up after 120 s
NESTED_S = 20.0  # for a first look at all nested jobs; until then some look as if they waited for their pod
_END_S = 5  # whole seconds from SIGTERM to the end, also of a plugin whose Launcher no longer reads
_READ_BYTES = 65536
_TOKEN_AGE_S = 10.0  # a token file is read again after this time; kubelet rotates it long before it expires


def make_build(options: Options, profiles: Profiles, renderer: Renderer) -> Build:
    """How `kns.plain` gets a job's objects from the renderer."""

    def name(job: PlainJob, generate_name: str) -> Names:
        return Names(generate_name, options.cluster, service_ports_json(job))

    def build_job(job: PlainJob, generate_name: str) -> Object:
        return renderer.render_job(job, name(job, generate_name), profiles.for_user(job.user))

    def build_service(job: PlainJob, job_id: str, service: str) -> Object:
        return renderer.render_service(job, name(job, f"{job_id}-"), job_id=job_id, service=service)

    return Build(build_job, build_service)


class Parts:
    """The connected parts of a plugin over a cluster. `start` starts their threads."""

    def __init__(
        self,
        options: Options,
        profiles: Profiles,
        renderer: Renderer,
        cluster: Cluster,
        outbox: Outbox,
        *,
        clock: Clock,
        await_cluster: Callable[[], None],
        read_token: Callable[[], str] = lambda: "",
    ) -> None:
        inputs = InputFiles(options.scratch_path)
        build = make_build(options, profiles, renderer)
        self.jobs = PlainJobs(cluster, name=options.cluster, build=build, inputs=inputs)
        self.keeper = Keeper(
            self.jobs,
            cluster,
            inputs=inputs,
            clock=clock,
            expiry=timedelta(hours=options.job_expiry_hours),
        )

        def make_output(job_id: str, kind: Kind) -> Output:
            return Output(self.jobs, cluster, job_id, kind)

        self.plugin = Plugin(
            options,
            self.jobs,
            profiles,
            outbox,
            make_output=make_output,
            await_cluster=await_cluster,
            read_token=read_token,
        )

    def start(self, stop: threading.Event) -> None:
        self.plugin.start(stop)
        threading.Thread(target=self.keeper.run, args=(stop,), name="keeper", daemon=True).start()


def run_plugin(
    options: Options,
    profiles: Profiles,
    renderer: Renderer,
    *,
    requests: int,
    outbox: Outbox,
    stop: threading.Event,
    reload: Callable[[], None] = lambda: None,
) -> int:
    """
    Speak the protocol until the input ends or a signal comes; the exit code. `stop` is set then. `reload` is called on
    SIGHUP.

    The threads that are left end with the process, so the caller exits without waiting for them.
    """
    with signals(reload) as wake:
        try:
            client = connect_cluster(options)
            cluster = make_cluster(options, client)
            clock = HostClock(SystemClock(), client.server_time)
            nested = connect_nested(options, cluster, clock)

            def await_all() -> None:
                await_sync(cluster, stop)
                if nested is not None:
                    await_nested(nested, stop)

            parts = Parts(
                options,
                profiles,
                renderer,
                nested or cluster,
                outbox,
                clock=clock,
                await_cluster=await_all,
                read_token=lambda: client.auth_headers().get("authorization", "").removeprefix("Bearer "),
            )
            cluster.start(stop)
            if nested is not None:
                threading.Thread(target=nested.looks.run, args=(stop,), name="nested", daemon=True).start()
            parts.start(stop)
            log.info("plugin_started", namespace=options.namespace, cluster=options.cluster, api=options.api_url)
            return read_requests(parts.plugin, outbox, requests, wake, max_bytes=options.max_message_bytes)
        finally:
            stop.set()
            log.info("plugin_stopped")


def make_cluster(options: Options, client: KubeClient) -> NamespacedCluster:
    """The jobs of the Launcher's cluster in its namespace."""
    return NamespacedCluster(
        client,
        namespace=options.namespace,
        selector=f"{names.LABEL}={kns_names.label_value(options.cluster)}",
        clock=SystemClock(),
        keep=KEEP,
        limits=WatchLimits(page=options.fetch_limit, timeout_s=options.watch_timeout_s),
    )


def read_requests(plugin: Plugin, outbox: Outbox, requests: int, wake: int, *, max_bytes: int) -> int:
    """Hand each frame to the plugin until the input ends (0), a signal comes (0), or a frame is too large (1)."""
    reader = FrameReader(max_bytes=max_bytes)
    while True:
        ready, _, _ = select.select([requests, wake], [], [])
        if wake in ready:
            return 0
        data = os.read(requests, _READ_BYTES)
        if not data:
            return 0
        try:
            for frame in reader.feed(data):
                plugin.accept(frame)
        except FrameTooLargeError as error:
            log.error("request_too_large", error=str(error))  # noqa: TRY400 - the trace says nothing more
            outbox.send_error(0, Code.INVALID_REQUEST, str(error))
            return 1


def open_outbox(options: Options, frames: IO[bytes], stop: threading.Event) -> Outbox:
    """Begin the heartbeats: the first at once, then one per interval; none if the interval is 0."""
    outbox, interval_s = Outbox(frames, max_bytes=options.max_message_bytes), options.heartbeat_interval_s
    if interval_s <= 0:
        return outbox

    def beat() -> None:
        while not stop.is_set():
            outbox.send_heartbeat()
            stop.wait(interval_s)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    return outbox


@contextmanager
def signals(reload: Callable[[], None]) -> Iterator[int]:
    """
    SIGTERM and SIGINT make the yielded file descriptor readable, SIGHUP calls `reload` in a thread, also one that came
    while it was blocked.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def end(*_: Any) -> None:
        signal.alarm(_END_S)  # the reading thread may wait for a worker, or for the Launcher to read
        with contextlib.suppress(OSError):
            os.write(writer, b"x")

    def reload_apart(*_: Any) -> None:
        threading.Thread(target=reload, name="reload", daemon=True).start()

    def give_up(*_: Any) -> None:
        os._exit(0)

    handlers = {signal.SIGALRM: give_up, signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload_apart}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield reader
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def await_sync(cluster: NamespacedCluster, stop: threading.Event) -> None:
    """
    Wait until every existing job is known.

    Raises:
        UnavailableError: it took too long. The message has the reason.
    """
    deadline = time.monotonic() + BOOTSTRAP_S
    while not cluster.is_synced and not stop.is_set():
        if time.monotonic() > deadline:
            cluster.list_jobs()  # raises with the reason
            raise UnavailableError(f"the cluster did not list all jobs, pods and services within {BOOTSTRAP_S:.0f} s")
        stop.wait(0.05)


def await_nested(nested: NestedJobs, stop: threading.Event) -> None:
    """Wait until every nested job was looked at, but not long: kns may be down, and the other jobs are known."""
    deadline = time.monotonic() + NESTED_S
    while not nested.looks.is_synced and not stop.is_set() and time.monotonic() < deadline:
        stop.wait(0.05)


def connect_nested(options: Options, records: Cluster, clock: Clock) -> NestedJobs | None:
    """
    The cluster of all jobs if some can be nested; None without the settings for it.

    Raises:
        KnsError: the credentials for kns are unusable.
    """
    if not options.can_nest or options.nested_credentials_path is None:
        return None
    site = RemoteKns(
        options.nested_url,
        credentials_path=options.nested_credentials_path,
        app=options.nested_app,
        authority_file=options.nested_authority_path,
    )
    return NestedJobs(
        records,
        site,
        outputs=OutputFiles(options.scratch_path),
        clock=clock,
        # With the authority, because API servers of two sites may have the same private address.
        place=f"{options.api_url} {options.namespace} {options.cluster} {options.certificate_authority}",
        machine=options.nested_machine,
    )


def connect_cluster(options: Options) -> KubeClient:
    """
    Raises:
        KnsError: the certificate authority or the token is unusable.
    """
    authority: Path | None = None
    if options.certificate_authority:
        # The library wants a file, which each new connection reads. This one is in memory, and ends with the process.
        fd = os.memfd_create("kns-posit-authority")
        with os.fdopen(fd, "w", closefd=False) as file:
            file.write(options.certificate_authority)
        authority = Path(f"/proc/self/fd/{fd}")
    read_token = TokenSource(options.auth_token, options.auth_token_path, find_account(options.server_user))
    read_token()  # an unusable file must stop the start, not the first request
    return connect_with_token(
        options.api_url, read_token=read_token, authority_file=authority, verify=options.verify_ssl_certs
    )


class TokenSource:
    """
    The token of the API, read from its file again after a while. `account` is the server user.

    A file that another user may have written is not read, so that nobody but its owner exchanges the token.
    """

    def __init__(self, inline: str, path: Path | None, account: Account | None) -> None:
        self._token = inline
        self._path = path
        self._account = account
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """
        Raises:
            KnsError: the file was never readable. Later the last token stays in use.
        """
        if self._path is None:
            return self._token
        with self._lock:
            if time.monotonic() - self._read_at >= _TOKEN_AGE_S:
                try:
                    self._token = read_token_file(self._path, self._account)
                except (OSError, TokenFileError) as error:
                    if not self._token:
                        raise KnsError(
                            f"auth-token-path: {self._path} is not usable: {error}; "
                            "the user of the plugin needs the right to read it"
                        ) from error
                    log.warning("token_not_read_again", path=str(self._path), error=str(error))
                self._read_at = time.monotonic()
            return self._token


def take_stdout() -> IO[bytes]:
    """
    The stream of frames. Whatever else in this process, or in one that it starts, writes to stdout goes to stderr: the
    Launcher would take it for a frame.
    """
    sys.stdout.flush()
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return frames
