"""
The prepared states in kns's namespace: find one for a job, and make those that are missing.

Nothing waits for a state. A job without one starts with an empty database, which is slower. So every doubt about a
state means that there is none: it is logged, and the state is made again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import CLIP, InvalidInputError, clip
from kns.model.job.location import Location
from kns.model.reading.event_time import read_event_time
from kns.model.site import VirtualKubernetes
from kns.objects.certificates import build_certificates
from kns.objects.prepare_job import CONTAINER, build_prepare_input, build_prepare_job
from kns.objects.prepared_state import PreparedState, build_state_map, read_log, read_state_map
from kns.ports import Cluster, Kind, Object

log = get_logger(__name__)


class StateOutcome(StrEnum):
    """
    What there is for one version. RUNNING: a Job makes its state. FAILED: the Job failed or printed nothing usable.
    Kubernetes deletes that Job after a while, and the next step creates another one.
    """

    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StateReport:
    """`detail` says why a state is missing."""

    version: str
    outcome: StateOutcome
    detail: str = ""


def find_state(cluster: Cluster, namespace: str, version: str, image: str) -> PreparedState | None:
    """The state for control planes of this image; None if there is none that can be used."""
    name = names.state_map(version)
    stored = cluster.read(Kind.CONFIG_MAP, namespace, name)
    if stored is None:
        return None
    try:
        state = read_state_map(stored)
    except InvalidInputError as error:
        log.warning("prepared_state_unusable", name=name, error=str(error), effect="virtual clusters start slower")
        return None
    if state.image != image:
        log.warning("prepared_state_of_other_image", name=name, image=state.image, wanted=image)
        return None
    return state


def prepare_states(
    cluster: Cluster, namespace: str, virtual: VirtualKubernetes, versions: Iterable[str], *, now: datetime
) -> list[StateReport]:
    """Do the next step for each of the versions (image tags). Safe to repeat, also from several processes."""
    return [_prepare(cluster, namespace, virtual, version, now) for version in versions]


def _prepare(cluster: Cluster, namespace: str, virtual: VirtualKubernetes, version: str, now: datetime) -> StateReport:
    image, name = virtual.kubernetes_image(version), names.prepare_job(version)
    if find_state(cluster, namespace, version, image) is not None:
        return StateReport(version, StateOutcome.READY)
    job = cluster.read(Kind.JOB, namespace, name)
    if job is None:
        wanted = build_prepare_job(name, namespace, image=image, service_cidr=virtual.service_cidr)
        _apply_input(cluster, cluster.apply(wanted), virtual, now)
        return StateReport(version, StateOutcome.RUNNING, "the Job was created")
    if job["spec"]["template"]["spec"]["containers"][0]["image"] != image:
        return StateReport(version, StateOutcome.RUNNING, "a Job of another image is not removed yet")
    status = job.get("status") or {}
    if not status and cluster.read(Kind.CONFIG_MAP, namespace, name) is None:  # kns ended between the two writes
        _apply_input(cluster, job, virtual, now)
    failure = _find_failure(status)
    if failure is not None:
        said = f"{failure} {_read_end(cluster, namespace, name)}".strip()
        return _fail(version, f"Job {name} in {namespace} failed: {clip(said)}")
    if not status.get("succeeded"):
        return StateReport(version, StateOutcome.RUNNING, "the Job runs")
    try:
        state = _read_result(cluster, namespace, name, image, now)
    except InvalidInputError as error:
        return _fail(version, f"Job {name} in {namespace}: {error}")
    cluster.apply(build_state_map(state, name=names.state_map(version), namespace=namespace))
    log.info("prepared_state_made", version=version, rows=len(state.rows), image=state.image_id or image)
    return StateReport(version, StateOutcome.READY, f"{len(state.rows)} objects")


def _apply_input(cluster: Cluster, job: Object, virtual: VirtualKubernetes, now: datetime) -> None:
    place = Location(0, job["metadata"]["name"])
    certificates = build_certificates(place, service_cidr=virtual.service_cidr, now=now)
    cluster.apply(build_prepare_input(job, certificates))


def _fail(version: str, detail: str) -> StateReport:
    log.warning("prepared_state_failed", version=version, error=detail, effect="virtual clusters start slower")
    return StateReport(version, StateOutcome.FAILED, detail)


def _read_result(cluster: Cluster, namespace: str, name: str, image: str, now: datetime) -> PreparedState:
    """
    Raises:
        InvalidInputError: the Job's pod is gone, has no log, or its log has no state that can be used.
    """
    pods = cluster.list_objects(Kind.POD, namespace, f"batch.kubernetes.io/job-name={name}")
    for pod in pods:
        if (pod.get("status") or {}).get("phase") == "Succeeded":
            text = cluster.pod_log(namespace, pod["metadata"]["name"], CONTAINER)
            if text is None:
                raise InvalidInputError("", "its pod has no log")
            return read_log(text, image=image, image_id=_image_id(pod), now=now)
    raise InvalidInputError("", "its pod is gone")


def _find_failure(status: Object) -> str | None:
    """
    What the Job's status says about its failure, which may be nothing; None if it has not failed. A Job whose pod was
    never created has a condition and no count of failed pods.
    """
    for condition in status.get("conditions") or ():
        if condition["type"] in ("Failed", "FailureTarget") and condition["status"] == "True":
            return f"{condition.get('message', '')}."
    return "" if status.get("failed") else None


def _read_end(cluster: Cluster, namespace: str, name: str) -> str:
    """The end of the log of the Job's pod, which is soon deleted, or else the last Event about the pod or the Job."""
    pods = cluster.list_objects(Kind.POD, namespace, f"batch.kubernetes.io/job-name={name}")
    texts = [cluster.pod_log(namespace, pod["metadata"]["name"], CONTAINER) for pod in pods]
    log_end = clip("".join(text or "" for text in texts)[-CLIP:])
    if log_end:
        return log_end
    abouts = [*(pod["metadata"]["name"] for pod in pods), name]
    events = sorted((event for about in abouts for event in cluster.list_events(namespace, about)), key=read_event_time)
    return " ".join(["Its pod has no log.", *(str(event.get("message") or "") for event in events[-1:])])


def _image_id(pod: Object) -> str:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return str(statuses[0].get("imageID", ""))
