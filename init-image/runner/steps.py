"""
The run: every step of the plan in order, with its attempts. A step starts only after the success of the step before.

A step that an earlier run finished is skipped. An interrupted step is not finished, whatever its exit code, because a
script may end with 0 after the SIGTERM that interrupted it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.api import ApiError
from runner.attempt import Attempted
from runner.cluster import NestedCluster
from runner.outcome import ItemOutOfRetries, Terminated
from runner.output import Output
from runner.plan import Plan, Step
from runner.shutdown import Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plan."""

    plan: Plan
    cluster: NestedCluster
    attempt: Callable[[Step, int], Attempted]
    """Runs a step once; the number counts its attempts from 1."""
    output: Output
    shutdown: Shutdown
    pause: Callable[[float], None]
    """Sleeps for a number of seconds. Raises `Terminated` if SIGTERM is received."""

    def run(self) -> None:
        """
        Run the steps that are not finished.

        Raises:
            ApiUnreachable: the virtual cluster was not ready in time.
            ItemOutOfRetries: the last attempt of a step failed.
            Terminated: SIGTERM was received.
        """
        remembered = self.cluster.wait_until_prepared(self.plan.awaited)
        finished: dict[str, str] = {}
        for index, step in enumerate(self.plan.steps):
            self.shutdown.check()
            title = f"[{index + 1}/{len(self.plan.steps)}] {step.name}"
            known = remembered.get(str(index)) == step.fingerprint
            finished[str(index)] = step.fingerprint
            if known:
                self.output.line(f"{title}, already done")
                continue
            self._finish(index, step, title)
            try:
                self.cluster.record(finished)
            except ApiError as err:
                self.output.line(
                    f"{title}: warning: done, but this could not be recorded ({err}); "
                    "if the init pod is restarted before the next item is done, it runs again"
                )

    def _finish(self, index: int, step: Step, title: str) -> None:
        attempts = step.retries + 1
        for number in range(1, attempts + 1):
            self.output.line(f"{title}, attempt {number}")
            attempted = self.attempt(step, number)
            if self.shutdown.requested:
                raise self._interrupted(index, step, number)
            if attempted.code == 0:
                return
            failed = f"{title}: attempt {number} failed (exit {attempted.code})"
            if attempted.fault:
                self._show_last(attempted, f"{failed}, no retry can change that: {attempted.fault}")
                raise self._never_succeeds(index, step, number, attempted)
            if number == attempts:
                self._show_last(attempted, f"{failed}, no retries left")
                raise self._out_of_retries(index, step, attempted.code)
            self.output.line(f"{failed}, next try in {step.retry_sleep_s} s")
            self.pause(step.retry_sleep_s)

    def _show_last(self, attempted: Attempted, line: str) -> None:
        for text in (*attempted.unwritten, line):
            self.output.last(text)

    def _never_succeeds(self, index: int, step: Step, number: int, attempted: Attempted) -> ItemOutOfRetries:
        return ItemOutOfRetries(
            f"item {index + 1}/{len(self.plan.steps)} '{step.name}' failed in attempt {number}, no retry can change "
            f"that: {attempted.fault}",
            details={"item": step.name, "index": index, "attempt": number, "exitCode": attempted.code},
        )

    def _out_of_retries(self, index: int, step: Step, code: int) -> ItemOutOfRetries:
        attempts = step.retries + 1
        return ItemOutOfRetries(
            f"item {index + 1}/{len(self.plan.steps)} '{step.name}' failed after "
            f"{attempts} attempt{'s' if attempts > 1 else ''}, last exit code {code}",
            details={"item": step.name, "index": index, "attempt": attempts, "exitCode": code},
        )

    def _interrupted(self, index: int, step: Step, attempt: int) -> Terminated:
        return Terminated(
            f"the init pod was ended during item {index + 1}/{len(self.plan.steps)} '{step.name}'",
            details={"item": step.name, "index": index, "attempt": attempt},
        )
