"""The nodes of a host in memory."""

from dataclasses import dataclass, field

from kns.adapters.kube.nodes import sum_offers
from kns.model.catalog.free import Amounts, HostRoom, Selector
from kns.ports import Object


@dataclass
class MemoryRoom:
    """The port `FreeRoom`. `selectors` are those of the machines, `taken` what jobs request on their nodes."""

    selectors: set[Selector] = field(default_factory=lambda: {frozenset()})
    taken: dict[Selector, Amounts] = field(default_factory=dict)
    nodes: list[Object] = field(default_factory=list)
    is_refused: bool = False

    def read(self) -> HostRoom | None:
        if self.is_refused:
            return None
        selectors = frozenset(self.selectors | self.taken.keys())
        return HostRoom(selectors, sum_offers(self.nodes, selectors), dict(self.taken))


def a_node(name: str = "one", *, cpu: str = "8", memory: str = "32Gi", gpus: str = "0", **labels: str) -> Object:
    allocatable = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpus, "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"allocatable": allocatable, "images": [{"names": ["registry.example.org/large"]}]},
    }
