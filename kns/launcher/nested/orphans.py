"""What has no record: clusters of kns for nested jobs, and outputs of nested jobs that have ended."""

from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.records import is_marked, read_job_id, read_number
from kns.launcher.nested.site import KnsSite
from kns.logs import get_logger
from kns.model.errors import KnsError, clip
from kns.plain.kept import read_name
from kns.plain.ports import Cluster
from kns.ports import Clock

log = get_logger(__name__)

ORPHAN_S = 600.0  # how often things without a record are looked for, and how old they must be


class Orphans:
    """The orphans of one plugin's jobs. For use in one thread."""

    def __init__(self, records: Cluster, site: KnsSite, *, outputs: OutputFiles, clock: Clock, mark: str) -> None:
        """`mark` is the one in the labels of this plugin's jobs of kns (`records.build_mark`)."""
        self._records = records
        self._site = site
        self._outputs = outputs
        self._clock = clock
        self._mark = mark
        self._due = clock.monotonic() + ORPHAN_S
        self._suspects: frozenset[int] = frozenset()

    def remove_due(self) -> None:
        """Remove both kinds, if it is time for that. Errors are logged; the next time repeats it."""
        if self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + ORPHAN_S
        try:
            self.end_clusters()
            self.remove_outputs()
        except KnsError as error:
            log.warning("nested_orphans_not_ended", error=clip(str(error)))

    def end_clusters(self) -> None:
        """
        End clusters of this plugin that have no record, and had none at the call before: a process was killed between
        the two, or its record was deleted by hand. The API server is asked before, because a watch may be late.
        """
        found = self._site.list_live(self._mark)
        numbers = {read_number(obj) for obj in self._records.list_jobs()}
        lost = frozenset(
            number for number, label in found.items() if is_marked(label, self._mark) and number not in numbers
        )
        for number in sorted(lost & self._suspects):
            if self._has_record(number, found[number]):
                continue
            log.warning("nested_orphan_ended", number=number)
            self._site.terminate(number)
        self._suspects = lost

    def remove_outputs(self) -> None:
        """Remove outputs without a record: another plugin deleted it when its job expired."""
        known = {read_name(obj) for obj in self._records.list_jobs()}
        self._outputs.remove_left(known, older_s=ORPHAN_S)

    def _has_record(self, number: int, label: str) -> bool:
        job_id = read_job_id(label)
        obj = self._records.read_job(job_id) if job_id else None
        return obj is not None and read_number(obj) == number
