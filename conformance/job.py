"""The job whose cluster is tested, from submit to nothing left."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from conformance.errors import ConformanceError
from demo.errors import FAILURES
from demo.files import write_private
from demo.jobs import caption, terminate_labelled
from demo.kubectl import Kubectl
from demo.target import Target
from demo.waiting import wait_until
from kns.cli.nested import read_admin_kubeconfig
from kns.client import ENDED, ApiKey, Client
from kns.model.job.location import Location

APP = "conformance"  # of the demo's catalogue: hello, with resources for the tests' pods
START_S = 300.0
DNS_S = 180.0
END_S = 300.0
_POLL_S = 1.0


@contextlib.contextmanager
def run_job(
    target: Target, environ: Mapping[str, str], *, machine: str, label: str, say: Callable[[str], None]
) -> Iterator[Path]:
    """
    A job during the block. Yields the kubeconfig of its cluster's administrator. The job is terminated at the end,
    whatever happens, and kns has removed it when the block ends.

    Raises:
        ConformanceError: the environment has no address or account.
        DemoError: the job did not start, or was not removed in time.
        ClientError: a call of kns failed.
    """
    host, file = Kubectl.of(target), target.state / f"{label}.kubeconfig"
    with _client(environ) as client:
        try:
            body = client.build_submission(APP, machine, job_label=label)
            number = client.submit(body).number
            say(f"job {number}: {APP} on {machine}")
            wait_until(lambda: _not_running(client, number), timeout_s=START_S, what=f"job {number}", say=say)
            write_private(file, _read_kubeconfig(host, number))
            inside = Kubectl(target.kubectl, str(file), use_proxy=False)
            wait_until(lambda: _no_dns(inside), timeout_s=DNS_S, what="CoreDNS of the job's cluster", say=say)
            yield file
        finally:
            file.unlink(missing_ok=True)
            _end(client, host, label, say)


def _client(environ: Mapping[str, str]) -> Client:
    try:
        account = ApiKey(environ["KNS_USERNAME"], environ["KNS_APIKEY"])
        return Client(environ["KNS_URL"], account, use_proxy=False)
    except KeyError as error:
        raise ConformanceError(f'{error.args[0]} is not set; run eval "$(make -s env)"') from error


def _not_running(client: Client, number: int) -> str | None:
    job = client.job(number)
    if job["job_status"] in ENDED:
        raise ConformanceError(f"job {number} ended before it ran: {client.output(number, lines=5)}")
    return None if client.info(number) is not None else caption(job)


def _read_kubeconfig(host: Kubectl, number: int) -> str:
    config = read_admin_kubeconfig(host, Location(number, f"kns-job-{number}"))
    if config is None:
        raise ConformanceError(f"job {number} runs, but namespace kns-job-{number} has no certificates of its cluster")
    return config


def _no_dns(inside: Kubectl) -> str | None:
    found = inside.get("pods", "--namespace=kube-system", "--selector=k8s-app=vcluster-kube-dns")["items"]
    ready = [
        condition["status"]
        for pod in found
        for condition in pod.get("status", {}).get("conditions", [])
        if condition["type"] == "Ready"
    ]
    return None if ready and set(ready) == {"True"} else f"{ready.count('True')} of {len(found)} pods ready"


def _explain_namespace(host: Kubectl, name: str) -> str | None:
    return None if host.find("namespace", name) is None else f"namespace {name} is terminating"


def _end(client: Client, host: Kubectl, label: str, say: Callable[[str], None]) -> None:
    """Terminate what has the label. The response to the submission may be lost, so the number may be unknown."""
    try:
        numbers = list(client.jobs(label=label))
        terminate_labelled(client, label, say=say)
    except FAILURES:
        say(f"the job with label {label} could not be terminated: terminate it by hand")
        raise
    for number in numbers:
        name = f"kns-job-{number}"
        wait_until(
            partial(_explain_namespace, host, name),
            timeout_s=END_S,
            what=f"the removal of namespace {name}",
            say=say,
        )
        say(f"job {number} is removed")
