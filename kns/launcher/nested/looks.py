"""
Looks at nested jobs: which job one of the workers looks at next.

No watch reports changes in a job's cluster, so `Looks.run` looks at each nested job in turn, at most `LOOKS_PER_S`
times a second in all. What a look does is in `kns.launcher.nested.live` and, after the job's end, in
`kns.launcher.nested.endings`. Jobs that have ended have workers of their own, because saving an output may take long.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from kns.launcher.nested.endings import Endings
from kns.launcher.nested.known import KnownJobs
from kns.launcher.nested.live import LiveJobs
from kns.launcher.nested.orphans import Orphans
from kns.launcher.nested.records import is_over, read_number
from kns.logs import get_logger
from kns.model.errors import KnsError, UnavailableError, clip
from kns.plain import names
from kns.plain.kept import read_name, read_nested_note
from kns.plain.ports import Cluster
from kns.plain.state import Asked
from kns.plain.stored import read_stored
from kns.ports import Clock

log = get_logger(__name__)

LOOKS_PER_S = 20.0  # through kns, which passes each on; with more than forty jobs, each is looked at less often
_ROUND_S = 0.5  # between two choices of jobs, at least
_EACH_S = 2.0  # between two looks at a job, unless the look itself decides otherwise
_WORKERS = 8
_SAVERS = 16  # workers for jobs that have ended


class Looks:
    """Chooses jobs and hands them to workers. Safe for use in many threads."""

    def __init__(
        self, records: Cluster, known: KnownJobs, *, live: LiveJobs, endings: Endings, orphans: Orphans, clock: Clock
    ) -> None:
        self._records = records
        self._known = known
        self._live = live
        self._endings = endings
        self._orphans = orphans
        self._clock = clock
        self._busy: dict[str, bool] = {}  # jobs that a worker has or will look at: whether they have ended
        self._unseen: set[str] | None = None  # live jobs of the first list that were not looked at; None before it
        self._lock = threading.Lock()  # of both

    @property
    def is_synced(self) -> bool:
        """Whether every nested job that lives was looked at once."""
        return self._unseen == set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. In a thread of its own."""
        with (
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="nested") as pool,
            ThreadPoolExecutor(_SAVERS, thread_name_prefix="nested-output") as savers,
        ):
            while not stop.is_set():
                self._endings.close_slow_logs()
                try:
                    due = self._list_due()
                except UnavailableError:  # before the caches are filled
                    stop.wait(_ROUND_S)
                    continue
                for job_id, has_ended in self._take(due).items():
                    (savers if has_ended else pool).submit(self._look_safely, job_id)
                self._orphans.remove_due()
                stop.wait(max(_ROUND_S, min(1.0, len(due) / LOOKS_PER_S)))

    def _take(self, due: Sequence[str]) -> Mapping[str, bool]:
        """
        The next jobs, each for one worker at a time, and whether each has ended. No more than workers can begin soon: a
        job that is submitted meanwhile comes before those that wait here.
        """
        with self._lock:
            if self._unseen is None:
                self._unseen = {job_id for job_id in due if not self._has_ended(job_id)}
            self._unseen &= {*due, *self._busy}
            busy, taken = Counter(self._busy.values()), dict[str, bool]()
            room = {True: 2 * _SAVERS - busy[True], False: 2 * _WORKERS - busy[False]}
            for job_id in due:
                has_ended = self._has_ended(job_id)
                if room[has_ended] > 0 and len(taken) < LOOKS_PER_S:
                    taken[job_id] = has_ended
                    room[has_ended] -= 1
            self._busy.update(taken)
            return taken

    def _has_ended(self, job_id: str) -> bool:
        obj = self._records.find_job(job_id)
        return obj is not None and bool(read_nested_note(obj, names.END))

    def _list_due(self) -> list[str]:
        now = self._clock.monotonic()
        records = [obj for obj in self._records.list_jobs() if read_number(obj) is not None]
        current = {read_name(obj) for obj in records}
        for job_id in self._known.list_ids() - current:
            self._known.forget(job_id)
        due: dict[str, float] = {}
        for obj in records:
            job_id = read_name(obj)
            known = self._known.find(job_id)
            if job_id not in self._busy and not is_over(obj) and (known is None or known.due <= now):
                due[job_id] = 0.0 if known is None else known.due
        return sorted(due, key=lambda job_id: due[job_id])

    def _look_safely(self, job_id: str) -> None:
        try:
            self.look(job_id)
        except KnsError as error:
            log.warning("nested_job_not_kept", job=job_id, error=clip(str(error)))
        except Exception:  # a bug; the other jobs must still be kept
            log.exception("nested_jobs_crashed", job=job_id)
        finally:
            with self._lock:
                self._busy.pop(job_id, None)
                if self._unseen is not None:
                    self._unseen.discard(job_id)

    def look(self, job_id: str) -> None:
        """
        Do what the job needs now, and remember what its cluster says.

        Raises:
            KnsError: kns or a cluster did not do it; the next look repeats it.
        """
        obj = self._records.find_job(job_id)
        if obj is None or is_over(obj) or read_number(obj) is None:
            return
        known = self._known.connect(obj)
        with known.lock:
            known.due = self._clock.monotonic() + _EACH_S
            stored = read_stored(obj)
            if stored.end or stored.asked == Asked.CANCEL:
                self._endings.look(stored, known)
            else:
                self._live.look(obj, stored, known)
