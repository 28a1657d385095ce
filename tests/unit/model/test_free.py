"""How many jobs of a machine fit: a sum over nodes, minus what jobs request there."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest

from kns.adapters.kube.nodes import sum_offers
from kns.model.catalog.free import Amounts, HostRoom, Selector, count_fitting, read_selector
from kns.model.catalog.machine import Machine
from kns.ports import Object
from tests.fakes.room import a_node

GIB = 2**30
ANY: Selector = frozenset()
BIG: Selector = frozenset({("pool", "big")})


def a_machine(cores: int = 2, gib: int = 4, gpus: int = 0, properties: str = "appkind=kns") -> Machine:
    return Machine(mc_name="m", mc_cores=cores, mc_ram=gib, mc_gpus=gpus, mc_properties=properties)


def amounts(cores: str, gib: int = 0, gpus: int = 0) -> Amounts:
    return Decimal(cores), Decimal(gib * GIB), Decimal(gpus)


def room(
    nodes: Sequence[Object], taken: Mapping[Selector, Amounts] | None = None, *, selectors: Sequence[Selector] = (ANY,)
) -> HostRoom:
    known = frozenset(selectors) | (taken or {}).keys()
    return HostRoom(known, sum_offers(nodes, known), taken or {})


NODE = a_node()  # 8 cores, 32 GiB
BIG_NODE = a_node("two", pool="big")
FITS = [
    ("an empty node: 8 cores hold 3 jobs of 2.17", a_machine(), room([NODE]), 3),
    ("memory may be what is scarce", a_machine(1, 15), room([NODE]), 2),
    ("two nodes are added up", a_machine(), room([NODE, a_node("two")]), 7),
    ("a machine that is larger than one node", a_machine(10), room([NODE, a_node("two")]), 1),
    ("what jobs request is gone", a_machine(), room([NODE], {ANY: amounts("3")}), 2),
    ("more is requested than there is", a_machine(), room([NODE], {ANY: amounts("30")}), 0),
    ("no nodes", a_machine(), room([]), 0),
    ("a machine without GPUs needs none", a_machine(), room([NODE], {ANY: amounts("0", gpus=4)}), 3),
    ("GPUs are counted", a_machine(1, 1, 2), room([a_node(gpus="5")], {ANY: amounts("0", gpus=1)}), 2),
    ("a node without GPUs", a_machine(1, 1, 1), room([NODE]), 0),
    (
        "only nodes with the labels",
        a_machine(properties="appkind=kns,pool=big"),
        room([NODE, BIG_NODE], selectors=[BIG]),
        3,
    ),
    (
        "jobs on other nodes do not count",
        a_machine(properties="appkind=kns,pool=big"),
        room([a_node(pool="small"), BIG_NODE], {frozenset({("pool", "small")}): amounts("8")}, selectors=[BIG]),
        3,
    ),
    (
        "jobs that may be anywhere count in part: half of 4 cores",
        a_machine(properties="appkind=kns,pool=big"),
        room([NODE, BIG_NODE], {ANY: amounts("4")}, selectors=[BIG]),
        2,
    ),
    (
        "jobs on the labelled nodes count in full for all",
        a_machine(),
        room([NODE, BIG_NODE], {BIG: amounts("8")}),
        3,
    ),
    (
        "jobs whose nodes are gone",
        a_machine(),
        room([NODE], {BIG: amounts("8")}),
        3,
    ),
]


@pytest.mark.parametrize(("_case", "machine", "host", "expected"), FITS, ids=[row[0] for row in FITS])
def test_how_many_fit(_case: str, machine: Machine, host: HostRoom, expected: int) -> None:
    assert count_fitting(host, machine) == expected


def test_nodes_that_nobody_looked_at_are_not_guessed() -> None:
    assert count_fitting(room([NODE]), a_machine(properties="appkind=kns,pool=new")) is None


def with_spec(**spec: object) -> Object:
    return {**NODE, "spec": spec}


LEFT_OUT = {
    "cordoned": with_spec(unschedulable=True),
    "tainted": with_spec(taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]),
    "evicting": with_spec(taints=[{"key": "nvidia.com/gpu", "effect": "NoExecute"}]),
    "not Linux": {**NODE, "metadata": {**NODE["metadata"], "labels": {"kubernetes.io/os": "windows"}}},
    "without a status": {"metadata": {"name": "new"}},
    "not readable": {**NODE, "status": {"allocatable": {"cpu": "-1"}}},
}


@pytest.mark.parametrize("node", LEFT_OUT.values(), ids=LEFT_OUT)
def test_nodes_that_take_no_jobs_offer_nothing(node: Object) -> None:
    assert count_fitting(room([node]), a_machine()) == 0


@pytest.mark.parametrize(
    "taint", [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "x", "effect": "PreferNoSchedule"}]
)
def test_taints_that_jobs_tolerate_do_not_matter(taint: dict[str, str]) -> None:
    assert count_fitting(room([with_spec(taints=[taint])]), a_machine()) == 3


def test_only_sums_are_kept() -> None:
    """However many nodes there are: one entry for all with the same selectors."""
    nodes = [a_node(str(number), zone=str(number)) for number in range(1000)]
    assert sum_offers(nodes, {ANY, BIG}) == {frozenset({ANY}): (Decimal(8000), Decimal(32000 * GIB), Decimal(0))}


def test_a_selector_is_what_the_machine_requires_of_nodes() -> None:
    assert read_selector(a_machine(properties="appkind=kns,pool=big,spare").node_selector) == {
        ("pool", "big"),
        ("spare", ""),
    }
