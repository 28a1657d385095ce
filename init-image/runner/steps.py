"""
The run: every step of the plan in order, with its attempts. A step starts only after the success of the step before.

A step that an earlier run finished is skipped. An interrupted step is not finished, whatever its exit code, because a
script may end with 0 after the SIGTERM that interrupted it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.cluster import KubectlError, NestedCluster
from runner.output import Output
from runner.plan import Action, Plan, Step
from runner.result import ItemOutOfRetries, Terminated
from runner.shutdown import Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plan."""

    plan: Plan
    cluster: NestedCluster
    attempt: Callable[[Action], int]
    """Runs an action once and returns its exit code."""
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
        remembered = self.cluster.wait_until_ready()
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
            except KubectlError as err:
                self.output.line(
                    f"{title}: warning: done, but this could not be recorded ({err}); "
                    "if the init pod is restarted before the next item is done, it runs again"
                )

    def _finish(self, index: int, step: Step, title: str) -> None:
        attempts = step.retries + 1
        for attempt in range(1, attempts + 1):
            self.output.line(f"{title}, attempt {attempt}")
            code = self.attempt(step.action)
            if self.shutdown.requested:
                raise self._interrupted(index, step, attempt)
            if code == 0:
                return
            failed = f"{title}: attempt {attempt} failed (exit {code})"
            if attempt == attempts:
                self.output.line(f"{failed}, no retries left")
                raise self._out_of_retries(index, step, code)
            self.output.line(f"{failed}, next try in {step.retry_sleep_s} s")
            self.pause(step.retry_sleep_s)

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
