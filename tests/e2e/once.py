"""The objects that were made for a job; and the check that each was made once, whoever led meanwhile."""

from dataclasses import dataclass

from demo.overlay import NAMESPACE
from tests.e2e.jobs import TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.site import Site

ITEMS = {
    "hello": ["web"],
    "web-shell": ["web"],
    "slow": ["take your time", "web"],
    "keycloak-login": ["page", "web"],
}
SECONDS = 25  # of examples/slow, a line each


@dataclass(frozen=True, slots=True)
class Made:
    """The uids of what was made for the job, which must be the same before and after; "" for what does not exist."""

    namespace: str
    control_plane: str
    init_job: str
    ingress: str
    shell: str

    def is_kept_by(self, later: "Made") -> bool:
        """Whether everything that existed still exists and was not replaced."""
        names = self.__slots__
        return all(getattr(self, name) in ("", getattr(later, name)) for name in names)


def look(site: Site, job: TrialJob) -> Made:
    """What exists of the job now."""

    def uid(*arguments: str) -> str:
        found = site.kubectl.find(*arguments)
        return str(found["metadata"]["uid"]) if found else ""

    inside = f"--namespace={job.namespace}"
    return Made(
        namespace=uid("namespace", job.namespace),
        control_plane=uid("deployment", job.namespace, inside),
        init_job=uid("job", "kns-init", inside),
        ingress=uid("ingress", job.namespace, inside),
        shell=uid("deployment", "kns-shell", inside),
    )


def delete_control_plane(site: Site, job: TrialJob) -> str:
    """Delete the pod of the job's control plane. Returns the pod's uid."""
    (pod,) = job.pods(selector=f"app=vcluster,release={job.namespace}")
    site.kubectl.run("delete", "pod", pod["metadata"]["name"], f"--namespace={job.namespace}", "--wait=false")
    return str(pod["metadata"]["uid"])


def check_ran_once(site: Site, job: TrialJob, app: str) -> None:
    """One record, one namespace, one init job with one pod that was never restarted; every line of the log once."""
    label = f"--selector=kns.io/job={job.number}"
    kubectl = site.kubectl
    assert len(kubectl.get("nj", f"--namespace={NAMESPACE}", label)["items"]) == 1
    assert len(kubectl.get("namespaces", label)["items"]) == 1
    assert len(kubectl.get("jobs.batch", "--all-namespaces", label)["items"]) == 1
    assert len(kubectl.get("ingress", "--all-namespaces", label)["items"]) == 1
    for selector in ("batch.kubernetes.io/job-name=kns-init", f"app=vcluster,release={job.namespace}"):
        pods = job.pods(selector=selector)
        assert len(pods) == 1
        assert {c["restartCount"] for c in pods[0]["status"]["containerStatuses"]} == {0}

    lines = job.tail()
    items = ITEMS[app]
    headers = [line for line in lines if line.startswith("[")]
    assert headers[: len(items)] == [f"[{i}/{len(items)}] {name}, attempt 1" for i, name in enumerate(items, 1)]
    assert lines.count("service/web created") == 1
    if app == "slow":
        assert [line for line in lines if line.startswith("second ")] == [
            f"second {second} of {SECONDS}" for second in range(1, SECONDS + 1)
        ]
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("deployment", "web", "--namespace=default")["metadata"]["generation"] == 1
        progress = inside.get("configmap", "kns-init-progress", "--namespace=kube-system")["data"]
        assert sorted(progress) == [str(index) for index in range(len(items))]
