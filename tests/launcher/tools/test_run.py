"""`kns posit run` with the real program, its files and a site's template, over the cluster of the tests."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kns.launcher.templates.folder import read_defaults
from kns.launcher.tools.session import PluginProcess, Sinks, run_job
from kns.model.errors import KnsError
from tests.launcher.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    yield server
    server.close()


class Site:
    """Configuration files in a folder, and jobs that one program runs."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.cluster = cluster
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.lines: list[str] = []
        cluster.ends_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # or the job would expire at once some day
        (folder / "launcher.conf").write_text("[cluster]\nname=Kubernetes\ntype=Kubernetes\n")
        (folder / "launcher.kubernetes.conf").write_text(
            f"api-url={cluster.url}\nauth-token=head.body.tail\nscratch-path={self.scratch}\nlogging-dir={folder}\n"
            "use-templating=1\njob-expiry-hours=8760\nlog-level=INFO\n"
        )
        (folder / "launcher.kubernetes.profiles.conf").write_text(
            "[*]\ndefault-container-image=r-session:4.5\nmax-cpus=2\nallow-unknown-images=0\n"
            "container-images=r-session:4.5\n"
        )

    def run(self, *, code: int = 0, **job: Any) -> int:
        """Run a job to its end. The cluster runs the pod as soon as the plugin says that the job waits."""
        argv = [
            sys.executable, "-m", "kns.launcher.program", f"--launcher-config-file={self.folder}/launcher.conf",
            f"--config-file={self.folder}/launcher.kubernetes.conf", "--unprivileged=1",
        ]  # fmt: skip

        def note(line: str) -> None:
            if not self.lines:
                job_id = line.split()[1].rstrip(":")
                self.cluster.run_pod(job_id)
                self.cluster.write_log(job_id, "hello\n")
                self.cluster.end_log(job_id)
                self.cluster.end_pod(job_id, code)
            self.lines.append(line)

        with PluginProcess(argv) as plugin:
            return run_job(
                plugin,
                {"name": 'it\'s "work"\n- x: y', "exe": "Rscript", "args": ["a b"], **job},
                user="ana",
                sinks=Sinks(out=lambda text: self.lines.append(f"out {text}"), err=print, note=note),
                limit_s=120,
            )

    def made(self) -> dict[str, Any]:
        (name,) = self.cluster.jobs()
        return self.cluster.job(name)


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Site:
    return Site(tmp_path, cluster)


def test_a_job_of_a_sites_template_runs_to_its_end(site: Site) -> None:
    source = read_defaults()["job.tpl"].replace("user: {{", "team: {{ .Job.name }}\n        user: {{")
    (site.scratch / "job.tpl").write_text(source)

    assert site.run(code=3) == 3

    pod = site.made()["spec"]["template"]
    assert pod["metadata"]["annotations"]["team"] == 'it\'s "work"\n- x: y'
    assert pod["spec"]["containers"][0]["image"] == "r-session:4.5"
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2"}
    assert "out hello\n" in site.lines
    assert any(line.endswith(": Finished") for line in site.lines)
    assert site.cluster.beyond_role == [], "the smallest Role is enough"


def test_a_template_that_fails_refuses_the_job_and_creates_nothing(site: Site) -> None:
    (site.scratch / "job.tpl").write_text(read_defaults()["job.tpl"] + '{{ fail (printf "no %s here" .Job.user) }}\n')

    with pytest.raises(KnsError, match=r"error 2: job\.tpl.*no ana here"):
        site.run()

    assert site.cluster.jobs() == []


def test_a_job_that_the_profile_forbids_is_refused(site: Site) -> None:
    with pytest.raises(KnsError, match=r"error 2: .*image"):
        site.run(container={"image": "other"})

    assert site.cluster.jobs() == []
