"""The plots of a job's page: what its pods requested, beside what the job may have."""

from datetime import timedelta

from kns.model.job.usage import Usage
from kns.web.job_view import build_plots
from tests.builders import a_job
from tests.fakes.stores import START


def test_the_height_of_a_plot_is_what_the_job_may_have() -> None:
    """The machine has 2 cores and 4 GiB. A plot that is full says that the machine is."""
    began, half = START + timedelta(seconds=10), START + timedelta(seconds=60)
    usage = Usage(time=half, cores=1.5, gib=1, core_seconds=50.0, gib_seconds=50.0)
    job = a_job().started(at_s=10).with_status(usage=usage).build()
    assert job.status.start_time == began
    cpu, memory = build_plots(job, START + timedelta(seconds=110))
    assert (cpu.limit, cpu.most, cpu.now) == (2, 1.5, 1.5)
    assert cpu.bars == ((0, 50, 50), (50, 50, 75))
    assert (memory.limit, memory.most, memory.now) == (4, 1, 1)
    assert [height for _, _, height in memory.bars] == [25, 25]


def test_a_job_without_usage_has_no_plot() -> None:
    assert build_plots(a_job().started().build(), START) == []
