"""
A job's usage: CPU, memory, GPUs and ephemeral storage that its pods request, summed over time.

Requests change in steps. The record stores the sums at one moment and the amounts requested since then, which gives
exact sums without periodic writes, and nothing is lost at a restart.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kns.model.appdef.resources import CONTROL_PLANE, COREDNS, INIT, SHELL
from kns.model.reading.quantity import parse_quantity

MAX_REPORTS = 100
GPU = "requests.nvidia.com/gpu"
_EPHEMERAL = "ephemeral-storage"
_GIB = Decimal(2) ** 30
Rates = tuple[float, float, float, float]  # cores, GiB of memory, GPUs, GiB of ephemeral storage


class Usage(BaseModel):
    """
    The sums at `time`, in units times seconds; `cores`, `gib`, `gpus` and `scratch_gib` are requested since then.

    While it is `paused`, nothing is requested and no seconds count, because the job is asleep.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    time: AwareDatetime
    seconds: float = 0
    core_seconds: float = 0
    gib_seconds: float = 0
    gpu_seconds: float = 0
    scratch_gib_seconds: float = 0
    cores: float = 0
    gib: float = 0
    gpus: float = 0
    scratch_gib: float = 0
    paused: bool = False

    @property
    def rates(self) -> Rates:
        return self.cores, self.gib, self.gpus, self.scratch_gib

    def at(self, now: datetime) -> "Usage":
        """The usage with its sums moved on to `now`; an earlier `now` changes nothing."""
        passed_s = 0.0 if self.paused else max(0.0, (now - self.time).total_seconds())
        return self.model_copy(
            update={
                "time": max(now, self.time),
                "seconds": round(self.seconds + passed_s, 3),
                "core_seconds": round(self.core_seconds + passed_s * self.cores, 3),
                "gib_seconds": round(self.gib_seconds + passed_s * self.gib, 3),
                "gpu_seconds": round(self.gpu_seconds + passed_s * self.gpus, 3),
                "scratch_gib_seconds": round(self.scratch_gib_seconds + passed_s * self.scratch_gib, 3),
            }
        )

    def pause(self, now: datetime) -> "Usage":
        """The usage of a job that is asleep from `now` on."""
        nothing = {"cores": 0.0, "gib": 0.0, "gpus": 0.0, "scratch_gib": 0.0}
        return self.at(now).model_copy(update={**nothing, "paused": True})

    def resume(self, now: datetime) -> "Usage":
        """The usage of a job that is woken at `now`."""
        return self.at(now).model_copy(update={"paused": False})


def read_rates(used: Mapping[str, str], *, deploying: bool, shell: bool = False) -> Rates:
    """
    What the tenant's pods request: the use of the job's quota, minus kns's own pods.

    `used` is `status.used` of the quota. `deploying` and `shell` say whether the quota counts the init pod and the pod
    of the web shell.
    """
    own = (CONTROL_PLANE, COREDNS, *([INIT] if deploying else ()), *([SHELL] if shell else ()))
    cores = parse_quantity(used.get("requests.cpu", "0")) - sum(parse_quantity(p["requests"]["cpu"]) for p in own)
    memory = parse_quantity(used.get("requests.memory", "0"))
    memory -= sum(parse_quantity(p["requests"]["memory"]) for p in own)
    gpus = parse_quantity(used.get(GPU, "0"))
    scratch = parse_quantity(used.get(f"requests.{_EPHEMERAL}", "0"))
    scratch -= sum(parse_quantity(p["requests"][_EPHEMERAL]) for p in own)
    amounts = (cores, memory / _GIB, gpus, scratch / _GIB)
    return tuple(round(float(max(Decimal(0), value)), 3) for value in amounts)  # type: ignore[return-value]  # four


def next_usage(usage: Usage | None, rates: Rates, *, now: datetime, interval_s: int) -> tuple[Usage, float | None]:
    """
    The usage to store, and the seconds after which to call this again (None: when something changes).

    A change of the rates counts from the moment it is seen, at most once per interval.
    """
    requested = dict(zip(("cores", "gib", "gpus", "scratch_gib"), rates, strict=True))
    if usage is None:
        return Usage(time=now, **requested), None
    if rates == usage.rates:
        return usage, None
    requeue_after_s = (usage.time + timedelta(seconds=interval_s) - now).total_seconds()
    if requeue_after_s > 0:
        return usage, requeue_after_s
    return usage.at(now).model_copy(update=requested), None
