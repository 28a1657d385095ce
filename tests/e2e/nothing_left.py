"""The proof that a job left nothing: all that the cluster can list, before and after."""

from demo.kubectl import Kubectl
from demo.leftovers import find_leftovers
from demo.overlay import NAMESPACE
from demo.snapshot import Difference, Key, Snapshot, take_snapshot
from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

# Tests that may run meanwhile change kns's settings: docs/testing.md.
_SETTINGS = frozenset({("ConfigMap", NAMESPACE, "kns-config"), ("Secret", NAMESPACE, "kns-keycloak")})
_SETTLE_S = 30.0  # for controllers that tidy up after a namespace, such as that of IPAddresses


def await_nothing_left(
    kubectl: Kubectl, before: Snapshot, *, job: int, record: bool = True, changed: frozenset[Key] = frozenset()
) -> None:
    """
    Wait until, of all objects of all kinds, only what stays of a job differs from `before`: its record, its two Secrets
    and the counter of numbers. No other test may change objects outside of its jobs meanwhile.

    `record`: whether the record still exists; `changed`: the objects that the test itself has written to.
    """
    name = f"kns-job-{job}"
    kept = {("NestedJob", NAMESPACE, name)} | {("Secret", NAMESPACE, f"{name}-{part}") for part in ("output", "tokens")}
    expected = Difference(
        added=frozenset(kept if record else ()),
        removed=frozenset(),
        changed=(changed | {("ConfigMap", NAMESPACE, "kns-job-numbers")}) - _SETTINGS,
    )

    def probe() -> None:
        after = take_snapshot(kubectl, jobs={job})
        assert after.kinds == before.kinds
        if (found := _leave_out_settings(before.compare(after))) != expected:
            raise NotYetError(f"{found}\n  instead of {expected}")

    wait_for(probe, timeout_s=_SETTLE_S, what=f"nothing left of job {job} but its record")


def _leave_out_settings(found: Difference) -> Difference:
    return Difference(
        added=found.added - _SETTINGS, removed=found.removed - _SETTINGS, changed=found.changed - _SETTINGS
    )


def await_no_leftovers(site: Site, job: TrialJob, *, record: bool = True) -> None:
    """
    Wait until no object of any kind has the job's label or name, except for its record and the two Secrets. Other tests
    may run meanwhile.

    `record`: whether the record still exists.
    """

    def probe() -> None:
        found = find_leftovers(site.kubectl, job.number)
        if found.strays or bool(found.kept) != record:
            raise NotYetError(f"kept: {found.kept}; left: {found.strays}")

    wait_for(probe, timeout_s=_SETTLE_S, what=f"nothing left of job {job.number} but its record")
