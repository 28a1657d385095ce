"""
How many jobs of a machine would find room on the host now.

This is a sum and no model of the host's scheduler: what the nodes of a machine offer, minus what the pods of kns's jobs
request there, divided by what one job of the machine may request. So it knows neither pods of others nor whether a
large pod fits on one node (docs/web-page.md says what that means for users).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from kns.model.appdef.resources import with_overhead
from kns.model.catalog.machine import Machine
from kns.model.reading.quantity import parse_quantity

Selector = frozenset[tuple[str, str]]  # the labels that a node must have
Amounts = tuple[Decimal, Decimal, Decimal]  # cores, bytes of memory, GPUs

NOTHING: Amounts = (Decimal(0), Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class HostRoom:
    """
    `offered` has what nodes offer, by the selectors that select them: nodes with the same selectors are one entry.
    `taken` has what the pods of jobs request, by the selector of their job's machine. `selectors` are all that were
    compared with the nodes.
    """

    selectors: frozenset[Selector]
    offered: Mapping[frozenset[Selector], Amounts]
    taken: Mapping[Selector, Amounts]


def read_selector(labels: Mapping[str, str]) -> Selector:
    return frozenset(labels.items())


def add_amounts(amounts: Iterable[Amounts]) -> Amounts:
    """The sum of each; of none it is nothing."""
    cores, memory, gpus = NOTHING
    for each in amounts:
        cores, memory, gpus = cores + each[0], memory + each[1], gpus + each[2]
    return cores, memory, gpus


def count_fitting(room: HostRoom, machine: Machine) -> int | None:
    """
    How many more jobs with one machine of this kind fit, each with all that it may request; None if its nodes were not
    looked at.

    A job that may use other nodes, too, counts with the part of its nodes that this machine selects.
    """
    selector = read_selector(machine.node_selector)
    if selector not in room.selectors:
        return None
    offered = _sum_offered(room, selector)
    shares = [_share(room, selector, other, taken) for other, taken in room.taken.items()]
    taken = add_amounts(shares)
    wanted = _list_wanted(machine)
    counts = [(have - used) // want for have, used, want in zip(offered, taken, wanted, strict=True) if want > 0]
    return max(0, int(min(counts, default=Decimal(0))))


def _share(room: HostRoom, selector: Selector, other: Selector, taken: Amounts) -> Amounts:
    """What of `taken` is on the nodes of `selector`, if it is spread evenly over the nodes of `other`."""
    whole, common = _sum_offered(room, other), _sum_offered(room, other, selector)
    parts = zip(taken, common, whole, strict=True)
    cores, memory, gpus = (amount * part / full if full else Decimal(0) for amount, part, full in parts)
    return cores, memory, gpus


def _sum_offered(room: HostRoom, *selectors: Selector) -> Amounts:
    """What the nodes offer that all these select."""
    return add_amounts(amounts for found, amounts in room.offered.items() if found.issuperset(selectors))


def _list_wanted(machine: Machine) -> Iterator[Decimal]:
    """The requests of a job that uses its whole machine, with those of kns's own pods."""
    yield parse_quantity(with_overhead("requests", "cpu", str(machine.cores(1))))
    yield parse_quantity(with_overhead("requests", "memory", f"{machine.memory_gib(1)}Gi"))
    yield Decimal(machine.gpus(1))
