"""The types that describe a kind of job to the engine. The values are in `kns.stages`; the engine imports only this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kns.model.catalog.machine import Machine
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Accepted, Job, JobSpec, JobStatus, Substatus
from kns.model.job.pool import PoolSize
from kns.model.job.usage import Rates
from kns.model.site import Site
from kns.ports import Context, Object
from kns.stages.outcome import Outcome

Verb = Callable[[Context], Outcome]


@dataclass(frozen=True, slots=True)
class Stage:
    """
    One step on the way to a serving job.

    `condition` says whether the stage is done; `substatus` is shown while it is not. `ensure` and `remove` may be
    called any number of times, and `remove` also when `ensure` was never called or did not finish. A stage whose
    objects are all deleted with the job's namespace has no `remove`.

    `ahead` makes what does not need the stages before it. It is called while the starting stage or a later one waits,
    so that a job does not wait for one thing after the other. Its outcome does not change the record, except that
    Failed ends the job. Wait: the stages after it make nothing ahead. Once everything is made, `ahead` makes no call to
    the outside, because it is part of each reconcile. `ensure` is called in any case when the stage's turn comes.
    """

    name: str
    condition: ConditionType
    substatus: Substatus
    ensure: Verb
    remove: Verb | None = None
    ahead: Verb | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """
    A kind of job, as data for the engine.

    `stages` are ensured in order and removed in reverse order. The spawn time starts when `starting` is first reached;
    the job starts when it is done. A shutdown repeats `drain` until it is Done. `measure` returns the resources that a
    job requests at this moment. `follow` is called in each reconcile of a started job, after its stages; it returns the
    seconds until it wants the next one, or None. `explain_kept` says why the objects of an ended job are kept, or None:
    remove them. `let_run` starts the pods of a kept job that a sleep or `drain` had ended.

    `sleep` is repeated for a job that shall be asleep, before and after it is: Done means asleep, Skipped that the job
    cannot sleep, and then it goes on as before. `wake` is repeated until it is Done; then the stages are ensured again.
    `can_sleep` answers from caches. `is_in_use`: somebody uses the job in a way that makes no requests of its page.
    """

    stages: tuple[Stage, ...]
    starting: Stage
    drain: Verb
    measure: Callable[[Context, JobStatus], Rates]
    follow: Callable[[Context], float | None]
    explain_kept: Callable[[Job, Site], str | None]
    let_run: Callable[[Context], None]
    sleep: Verb
    wake: Verb
    can_sleep: Callable[[Context], bool]
    is_in_use: Callable[[Context], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberKind:
    """
    What a pool member of this kind of job is, as data for the engine.

    A member goes through `stages`, the first ones of the lifecycle, before its record exists. `draft` returns a job
    that fits every member of a pool, with this number and submit time; the machine is None for a pool that names none.
    `describe` returns everything that these stages fix at the start and no later stage changes, except the names of the
    location: a job and a member with equal values fit. `build_namespace` returns the member's namespace with the marks
    of the context.
    """

    stages: tuple[Stage, ...]
    draft: Callable[[PoolSize, Machine | None, int, datetime], tuple[JobSpec, Accepted]]
    describe: Callable[[Context], Mapping[str, Any]]
    build_namespace: Callable[[Context], Object]
