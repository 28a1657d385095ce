"""Calls of kubectl. Every call has a timeout."""

import contextlib
import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from demo.errors import DemoError
from demo.target import Target

DEFAULT_TIMEOUT_S = 30.0
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, program: Path, kubeconfig: str, *, use_proxy: bool) -> None:
        self._program = str(program)
        # In the environment and not as an option, because KUBECONFIG may be a list of files.
        self._environ = {
            name: value for name, value in os.environ.items() if use_proxy or name.lower() not in _PROXIES
        } | {"KUBECONFIG": kubeconfig}

    @classmethod
    def of(cls, target: Target) -> Self:
        """
        kubectl for the host cluster. The testbed's addresses are on this machine, so no proxy can reach them.
        """
        return cls(target.kubectl, target.kubeconfig, use_proxy=not target.is_testbed)

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, check: bool = True
    ) -> str:
        """
        The output of one call. Without `check`, the error output of a failed call.

        Raises:
            DemoError: the call failed or did not end in time, or kubectl is not installed.
        """
        command = [self._program, *arguments]
        shown = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                command,
                input=stdin,
                env=self._environ,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise DemoError(f"{self._program} does not exist; `make up` builds it") from error
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"`{shown}` did not end within {timeout_s:.0f} s") from error
        if done.returncode != 0 and check:
            raise DemoError(f"`{shown}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout if done.returncode == 0 else done.stderr

    def hand_over(self, *arguments: str) -> int:
        """
        Run one call on the user's terminal without a time limit. Returns its exit status; 130 after Ctrl-C.

        Raises:
            DemoError: kubectl is not installed.
        """
        try:
            child = subprocess.Popen([self._program, *arguments], env=self._environ)
        except FileNotFoundError as error:
            raise DemoError(f"{self._program} does not exist; `make up` builds it") from error
        try:
            return child.wait()
        except KeyboardInterrupt:  # kubectl got the signal too
            child.terminate()
            child.wait()
            return 130

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
            DemoError: the object does not exist.
        """
        return json.loads(self.run("get", *arguments, "--output=json"))

    @contextlib.contextmanager
    def forward(self, namespace: str, service: str, port: int, *, timeout_s: float = 20.0) -> Iterator[int]:
        """
        Run `kubectl port-forward` during the block. Yields the local port, which is on 127.0.0.1 only.

        Raises:
            DemoError: kubectl printed no port in time.
        """
        command = [self._program, "port-forward", f"--namespace={namespace}", "--address=127.0.0.1"]
        child = subprocess.Popen(
            [*command, f"service/{service}", f":{port}"],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C must not end it, because the job is terminated through it
        )
        try:
            yield _read_port(child, f"{namespace}/{service}", time.monotonic() + timeout_s)
        finally:
            child.terminate()
            child.wait()


def _read_port(child: subprocess.Popen[str], what: str, deadline: float) -> int:
    if child.stdout is None:
        raise DemoError("kubectl port-forward was started without a pipe")
    while select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        line = child.stdout.readline()
        if found := _FORWARDING.search(line):
            return int(found[1])
        if not line:
            break
        if line.strip():
            what = f"{what}: {line.strip()}"
    raise DemoError(f"kubectl port-forward printed no port for {what}; is kns running? (`make status`)")
