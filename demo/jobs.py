"""Jobs as the demo and the soak test show and end them."""

from collections.abc import Callable

from kns.client import Client, JobEntry


def caption(job: JobEntry) -> str:
    """
    The status and the stage of a job in one line.

    >>> caption({"job_status": "SUBMITTED", "job_substatus_text": "starting virtual cluster"})
    'SUBMITTED: starting virtual cluster'
    >>> caption({"job_status": "COMPLETED", "job_substatus_text": None})
    'COMPLETED'
    """
    text = job.get("job_substatus_text")
    return f"{job['job_status']}: {text}" if text else job["job_status"]


def terminate_labelled(client: Client, label: str, *, say: Callable[[str], None]) -> None:
    """
    Terminate the live jobs with a label. A job has its label even if the response to its submission was lost.

    Raises:
        ClientError: a call of kns failed.
    """
    for number in client.jobs(label=label):
        client.terminate(number)
        say(f"termination of job {number} requested; kns removes it")
