"""
kubectl as a child process: one call, an object, a port on this machine, a copy. Every call but a copy has a timeout.

The demo uses it, too. Nothing here knows typer or kns.
"""

import contextlib
import errno
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kns.model.errors import KnsError

DEFAULT_TIMEOUT_S = 30.0
FORWARD_TIMEOUT_S = 20.0  # until a port is open; usually one second
_STOP_S = 5.0  # kubectl ends at once on SIGTERM; this is for one that hangs
_AGAIN_AFTER_S = 1.0  # a lost connection to the host is tried anew after this time
_SHOWN = 2000  # characters of an error
_LINE_BYTES = 4096  # of a line of a child's messages; a longer one is cut into several
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_SECRETS = frozenset({"KNS_APIKEY", "KNS_TOKEN"})  # kubectl may start plugins, which need no credentials of kns
_LAST_LINES = 3  # of a failed call: the last one may only say that a program failed, whose reason is before it
_UNFIT = (errno.ENOENT, errno.ENOEXEC, errno.EACCES)
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class KubectlError(KnsError):
    """A call of kubectl failed. `is_forbidden`: the user of the kubeconfig lacks the right."""

    @property
    def is_forbidden(self) -> bool:
        return "(Forbidden)" in str(self)


class Kubectl:
    """kubectl with one kubeconfig; None: the one that kubectl itself finds."""

    failure: type[Exception] = KubectlError
    remedy = "install it: https://kubernetes.io/docs/tasks/tools/"

    def __init__(
        self,
        program: Path,
        kubeconfig: str | None,
        *,
        use_proxy: bool = True,
        context: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._program = [str(program), *(["--context", context] if context else [])]
        left_out = _SECRETS if use_proxy else _SECRETS | _PROXIES
        # In the environment and not as an option, because KUBECONFIG may be a list of files.
        self._environ = {
            name: value for name, value in environ.items() if name not in left_out and name.lower() not in left_out
        }
        if kubeconfig is not None:
            self._environ["KUBECONFIG"] = kubeconfig

    @property
    def environ(self) -> Mapping[str, str]:
        """What kubectl gets: without credentials for kns."""
        return self._environ

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, check: bool = True
    ) -> str:
        """
        The output of one call. Without `check`, the error output of a failed call.

        Raises:
            KubectlError: the call failed or did not end in time, or kubectl cannot be started.
        """
        shown = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [*self._program, *arguments],
                input=stdin,
                env=self._environ,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except OSError as error:
            raise self._explain_start(error) from error
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"`{shown}` did not end within {timeout_s:.0f} s") from error
        if done.returncode != 0 and check:
            raise self.failure(f"`{shown}` failed: {done.stderr.strip()[-_SHOWN:]}")
        return done.stdout if done.returncode == 0 else done.stderr

    def hand_over(self, *arguments: str) -> int:
        """
        Run one call on the user's terminal without a time limit. Returns its exit status; 130 after Ctrl-C.

        Raises:
            KubectlError: kubectl cannot be started.
        """
        try:
            child = subprocess.Popen([*self._program, *arguments], env=self._environ)
        except OSError as error:
            raise self._explain_start(error) from error
        try:
            return child.wait()
        except KeyboardInterrupt:  # kubectl got the signal too
            _stop(child)
            return 130

    def follow(self, *arguments: str, say: Callable[[str], None]) -> None:
        """
        Run one call without a time limit, and hand each line of its messages to `say`, which escapes it: a program in
        the job's cluster may have written it.

        Raises:
            KubectlError: the call failed, or kubectl cannot be started.
        """
        child: subprocess.Popen[bytes] | None = None
        last: deque[str] = deque(maxlen=_LAST_LINES)
        try:
            with _deferring_signals():
                child = self._start(*arguments)  # it is stopped here, so that it never outlives this
            for line in _read_lines(child):
                last.append(line)
                say(line)
            status = child.wait()
        finally:
            if child is not None:
                _stop(child)
                _close(child)
        if status != 0:
            raise self.failure(f"`kubectl {arguments[0]}` failed: {'; '.join(last) or f'exit status {status}'}")

    def find(self, *arguments: str) -> Any | None:
        """
        One object by the arguments of `kubectl get`, or None if it does not exist.
        """
        text = self.run("get", *arguments, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def get(self, *arguments: str) -> Any:
        """
        One object, or a List, by the arguments of `kubectl get`.

        Raises:
            KubectlError: the object does not exist.
        """
        return json.loads(self.run("get", *arguments, "--output=json"))

    @contextlib.contextmanager
    def forward(self, namespace: str, service: str, port: int, *, local: int = 0) -> Iterator[int]:
        """
        Run `kubectl port-forward` during the block. Yields the local port, which is on 127.0.0.1 only; `local` chooses
        it. If kubectl loses the connection, it is started again with the same port.

        Raises:
            KubectlError: kubectl printed no port in time.
        """
        forwarding = _Forwarding(self, f"{namespace}/{service}")
        chosen = forwarding.start(local, namespace, service, port)
        try:
            yield chosen
        finally:
            forwarding.close()

    def start_forward(self, local: int, namespace: str, service: str, port: int) -> subprocess.Popen[bytes]:
        """
        Raises:
            KubectlError: kubectl cannot be started.
        """
        where = (f"--namespace={namespace}", "--address=127.0.0.1", f"service/{service}")
        return self._start("port-forward", *where, f"{local or ''}:{port}")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C does not end it: a job may have to be ended through it."""
        try:
            return subprocess.Popen(
                [*self._program, *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise self._explain_start(error) from error

    def _explain_start(self, error: OSError) -> Exception:
        """Another machine's kubectl, or one that was not loaded completely, is there but cannot be executed."""
        remedy = f"; {self.remedy}" if error.errno in _UNFIT else ""
        return self.failure(f"cannot start {self._program[0]}: {error.strerror}{remedy}")


class _Forwarding:
    """
    One `kubectl port-forward`. A thread reads what it prints, because it prints a line for each connection and would
    stop at a full pipe, and starts it again if it ends by itself.
    """

    def __init__(self, kubectl: Kubectl, what: str) -> None:
        self._kubectl, self._what = kubectl, what
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards the child
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self, local: int, *where: Any) -> int:
        try:
            with _deferring_signals():
                self._child = self._kubectl.start_forward(local, *where)
            port = self._read_port(self._child)
        except BaseException:
            if self._child is not None:
                _stop(self._child)
                _close(self._child)
            raise
        self._thread = threading.Thread(target=self._keep, args=(port, *where), name="port-forward", daemon=True)
        self._thread.start()
        return port

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._child is not None:
                _stop(self._child)
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def _keep(self, port: int, *where: Any) -> None:
        while True:
            for _ in _read_lines(self._child):
                pass
            _close(self._child)
            if self._closing.wait(_AGAIN_AFTER_S):
                return
            with self._lock:
                if self._closing.is_set() or self._child is None:
                    return
                _stop(self._child)
                try:
                    self._child = self._kubectl.start_forward(port, *where)
                except self._kubectl.failure:  # kubectl is gone; whoever uses the port sees that it is closed
                    return

    def _read_port(self, child: subprocess.Popen[bytes]) -> int:
        if child.stdout is None:
            raise self._kubectl.failure("kubectl port-forward was started without a pipe")
        deadline, what = time.monotonic() + FORWARD_TIMEOUT_S, self._what
        while select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            line = child.stdout.readline(_LINE_BYTES).decode("utf-8", "replace")
            if found := _FORWARDING.search(line):
                return int(found[1])
            if not line:
                break
            if line.strip():
                what = f"{what}: {line.strip()}"[-_SHOWN:]
        raise self._kubectl.failure(f"kubectl port-forward printed no port for {what}; is it running?")


@contextlib.contextmanager
def _deferring_signals() -> Iterator[None]:
    """
    Deliver signals after the block, because one that interrupts the start of a child leaves a child that nobody knows.
    Blocking them would not do: the child would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are delivered to the main thread only
        yield
        return
    early: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _frame: early.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for caught in early:
            signal.raise_signal(caught)


def _read_lines(child: subprocess.Popen[bytes] | None) -> Iterator[str]:
    while child is not None and child.stdout is not None:
        line = child.stdout.readline(_LINE_BYTES)
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip()


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child of this process by its handle, and wait for it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _close(child: subprocess.Popen[bytes] | None) -> None:
    if child is not None and child.stdout is not None:
        child.stdout.close()
