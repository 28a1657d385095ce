"""
The demo: one job from submit to complete removal, with a line for every step.

`Story` records what exists, so that an interruption can report it and terminate the job.
"""

import secrets
import time
from dataclasses import dataclass, field

from demo import accounts, environment, hints, install
from demo.catalog import read_parameters
from demo.errors import FAILURES, DemoError
from demo.jobs import caption, terminate_labelled
from demo.kubectl import Kubectl
from demo.leftovers import find_leftovers
from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from demo.page import fetch_page, find_page_problem
from demo.screen import Screen
from demo.target import Target
from demo.times import StageTimes
from demo.waiting import wait_until
from kns.client import ENDED, ApiKey, Client, JobEntry

USER = "user1"
RUN_S = 900.0  # from submit to the URL; another cluster may have to add nodes and pull images
PAGE_S = 90.0
NESTED_S = 60.0
END_S = 180.0
_POLL_S = 0.25
_ALIVE_S = 10.0  # the longest time without a line


class JobFailedError(DemoError):
    """The job ended in an unexpected way."""


@dataclass(slots=True)
class Story:
    """One run of the demo."""

    target: Target
    screen: Screen
    app: str
    machine: str
    keep: bool
    number: int | None = None
    label: str = field(default_factory=lambda: f"demo-{secrets.token_hex(4)}")
    times: StageTimes = field(default_factory=StageTimes)
    _logged: int = 0

    def run(self) -> None:
        """
        Run the whole demo.

        Raises:
            JobFailedError: the job failed. The end of its output has been printed.
            DemoError: a step failed, or objects of the job are left.
            ClientError: a call of kns failed.
        """
        install.up(self.target, self.screen)
        kubectl = Kubectl.of(self.target)
        with install.reach_api(self.target, kubectl) as url, self._client(url) as client:
            try:
                self._submit(client)
                self._follow(client, kubectl)
                if self.keep:
                    self.screen.step(f"job {self.number} keeps running (--keep)")
                    self.number = None
                else:
                    self._end(client, kubectl)
                    self.number = None
                    self._show_times()
                self._say_how_to_go_on(kubectl)
            except KeyboardInterrupt:
                self._take_back(client)
                raise
            except FAILURES:
                self._say_what_runs()
                raise

    def _client(self, url: str) -> Client:
        return Client(url, ApiKey(USER, accounts.load_keys(self.target.state)[USER]), use_proxy=False)

    def _submit(self, client: Client) -> None:
        self.screen.heading(f"Submit {self.app} on {self.machine} as {USER}, over HTTP")
        self.times.begin("submit")
        application = {"parameters": dict(read_parameters(self.app))}
        body = client.build_submission(self.app, self.machine, job_label=self.label, application=application)
        self.number = client.submit(body).number
        self.screen.step(f"POST /jarvice/submit: job {self.number}")

    def _follow(self, client: Client, kubectl: Kubectl) -> None:
        """
        Follow the job from submit to its page.
        """
        number = self._job
        job_url = self._wait_for_url(client, kubectl)
        if job_url:
            self.times.begin("page")
            self.screen.heading("The page, through the ingress controller")
            self._show_page(job_url)
        self.times.stop()
        record = f"kns-job-{number}"
        self.screen.heading(f"The job as Kubernetes shows it: kubectl get nj {record} -n {NAMESPACE}")
        self.screen.quote(kubectl.run("get", "nj", record, f"--namespace={NAMESPACE}"))
        self.screen.heading("The job's own cluster: kubectl get pods -A")
        with nested_kubectl(self.target, number) as inside:
            wait_until(
                lambda: _unsettled(inside),
                timeout_s=NESTED_S,
                what="pods of the job's own cluster",
                say=self.screen.step,
            )
            self.screen.quote(inside.run("get", "pods", "--all-namespaces"))

    def _wait_for_url(self, client: Client, kubectl: Kubectl) -> str | None:
        """
        Show stages and log until the job is reachable. Returns its URL, or None for an app without a target.
        """
        deadline, shown, spoke = time.monotonic() + RUN_S, "", time.monotonic()
        while True:
            job = client.job(self._job)
            log = client.tail(self._job)
            # The first lines of the log belong to the new stage, later lines to the stage before it.
            if self._logged and self._show_log(log):
                spoke = time.monotonic()
            if (stage := caption(job)) != shown:
                shown, spoke = stage, time.monotonic()
                self.screen.step(stage, style="bold")
                if job["job_substatus_text"]:
                    self.times.begin(job["job_substatus_text"])
            if self._show_log(log):
                spoke = time.monotonic()
            if job["job_status"] in ENDED:
                self._explain_end(client, kubectl, job)
            if (info := client.info(self._job)) is not None:
                url = info["url"]
                return None if url is None else str(url)
            if time.monotonic() - spoke > _ALIVE_S:
                spoke = time.monotonic()
                self.screen.step(f"{stage} ... {self.times.current_s:.0f} s")
            if time.monotonic() > deadline:
                raise DemoError(f"job {self._job} was not reachable within {RUN_S:.0f} s: {stage}")
            time.sleep(_POLL_S)

    def _show_log(self, lines: list[str]) -> bool:
        """
        Print the new lines of the app's log. Returns whether there were any.
        """
        new = lines[self._logged :]
        self._logged = max(self._logged, len(lines))
        if new:
            self.screen.quote("\n".join(new))
        return bool(new)

    def _show_page(self, job_url: str) -> None:
        ingress = self.target.ingress_url
        self.screen.step(f"URL: {job_url}")
        wait_until(
            lambda: find_page_problem(job_url, ingress),
            timeout_s=PAGE_S,
            what=f"the page at {job_url}",
            say=self.screen.step,
            every_s=_POLL_S,
        )
        self.screen.step(f"GET {ingress or job_url}  (Host: {_host(job_url)}): 200")
        _, page = fetch_page(job_url, ingress)
        self.screen.quote(page[:2000])

    def _end(self, client: Client, kubectl: Kubectl) -> None:
        """
        Shut the job down and prove that none of its objects is left.
        """
        number = self._job
        self.screen.heading("End of the job")
        self.times.begin("shutdown")
        client.shutdown(number)
        self.screen.step("GET /jarvice/shutdown: requested")
        job: JobEntry = {}

        def ended() -> str | None:
            nonlocal job
            job = client.job(number)
            return None if job["job_status"] in ENDED else caption(job)

        wait_until(ended, timeout_s=END_S, what=f"the end of job {number}", say=self.screen.step, every_s=_POLL_S)
        self.screen.step(f"{job['job_status']}, exit code {job['job_exitcode']}", style="bold")
        if job["job_status"] != "COMPLETED":
            self._explain_end(client, kubectl, job)
        self.times.begin("removal")
        namespace = f"kns-job-{number}"
        wait_until(
            lambda: None if kubectl.find("namespace", namespace) is None else f"namespace {namespace} is terminating",
            timeout_s=END_S,
            what=f"the removal of namespace {namespace}",
            say=self.screen.step,
        )
        self.screen.step(f"namespace {namespace} is removed")
        self.times.stop()
        kept = self._prove_nothing_left(kubectl)
        self._show_log(output := client.output(number))
        self.screen.step(f"kept: {len(output)} lines of output (GET /jarvice/output), and in the cluster:")
        self.screen.quote("\n".join(kept))

    def _prove_nothing_left(self, kubectl: Kubectl) -> list[str]:
        """
        Returns the objects that are kept on purpose.

        Raises:
            DemoError: other objects are left.
        """
        found = find_leftovers(kubectl, self._job)
        if found.strays:
            raise DemoError(f"objects of job {self._job} are left: {', '.join(found.strays)}")
        self.screen.step(f"no object of the job is left in any of {found.kinds} kinds", style="bold")
        return found.kept

    def _explain_end(self, client: Client, kubectl: Kubectl, job: JobEntry) -> None:
        number = self._job
        self.number = None
        output = client.output(number, lines=15)
        self.screen.heading(f"The job ended: {job['job_status']}, exit code {job['job_exitcode']}")
        self.screen.quote("\n".join(output))
        records = kubectl.get("nj", f"--namespace={NAMESPACE}", f"--selector=kns.io/job={number}")["items"]
        status = records[0].get("status", {}) if records else {}
        reason = f"{status.get('reason', 'no reason')}: {status.get('message', '')}".rstrip(": ")
        raise JobFailedError(f"job {number} ended as {job['job_status']} ({reason}); {hints.say_where(number)}")

    def _take_back(self, client: Client) -> None:
        """
        Terminate the job after Ctrl-C. It is found by its label, because the response to submit may be lost.
        """
        try:
            terminate_labelled(client, self.label, say=self.screen.step)
        except FAILURES as error:
            self.screen.step(f"the job with label {self.label} could not be terminated: {error}", style="red")

    def _say_what_runs(self) -> None:
        if self.number is not None:
            self.screen.step(f"job {self.number} still runs, so that you can inspect it; terminate it afterwards:")
            self.screen.text(hints.list_looks(self.target, self.number))

    def _show_times(self) -> None:
        self.screen.text("")
        rows = [(name, f"{seconds:.1f} s") for name, seconds in self.times.rows()]
        total = sum(seconds for _, seconds in self.times.rows())
        self.screen.table("Times", ("stage", "time"), [*rows, ("total", f"{total:.1f} s")])

    def _say_how_to_go_on(self, kubectl: Kubectl) -> None:
        environment.write(self.target, kubectl)
        self.screen.heading("The cluster keeps running. Next steps:")
        self.screen.text(environment.describe_next_steps(self.target))

    @property
    def _job(self) -> int:
        if self.number is None:
            raise DemoError("no job was submitted")
        return self.number


def _unsettled(inside: Kubectl) -> str | None:
    pods = inside.get("pods", "--all-namespaces")["items"]
    unready = [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") != "Running"]
    return f"not running: {', '.join(unready)}" if unready else None


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]
