"""
A machine of the catalogue: the resource limit of one job, not a node.

kns uses CPU, memory, GPUs and scratch, and `mc_properties`, which selects the nodes for the job's pods. Files may have
numbers as strings, and "" for an empty list. API responses always have integers.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat

NESTED_KIND = ("appkind", "kns")


def _read_number(value: Any) -> Any:
    """An empty string is 0. The type check refuses any other string that is not a number."""
    return value.strip() or 0 if isinstance(value, str) else value


def _read_names(value: Any) -> Any:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


Integer = Annotated[int, BeforeValidator(_read_number)]
Number = Annotated[FiniteFloat, BeforeValidator(_read_number)]


class Machine(BaseModel):
    """
    A MachineDef with the keys of the contract. Memory and scratch are in GiB. The methods compute totals for `nodes`
    (contract E.4).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    mc_name: str
    mc_description: str = ""
    mc_cores: Integer
    mc_slots: Integer = 0
    mc_ram: Integer
    mc_gpus: Integer = 0
    mc_swap: Integer = 0
    mc_scratch: Integer = 0
    mc_devices: str = ""
    mc_properties: str = ""
    mc_slave_cores: Integer = 0
    mc_slave_ram: Integer = 0
    mc_slave_gpus: Integer = 0
    mc_slave_properties: str = ""
    mc_scale_min: Integer = 1
    mc_scale_max: Integer = 1
    mc_scale_select: str = ""
    mc_lesser: Integer = 1
    mc_price: Number = 0
    mc_priority: Integer = 0
    mc_privs: Annotated[list[str], BeforeValidator(_read_names)] = []
    mc_arch: str = "x86_64"
    mc_sched_id: Integer = 1
    mc_max_concurrent: Integer = 0

    @property
    def properties(self) -> dict[str, str]:
        """`mc_properties` by key. An entry without `=` has the value `""`."""
        pairs = (part.strip().partition("=") for part in self.mc_properties.split(",") if part.strip())
        return {key.strip(): value.strip() for key, _, value in pairs}

    @property
    def runs_nested_jobs(self) -> bool:
        return self.properties.get(NESTED_KIND[0]) == NESTED_KIND[1]

    @property
    def node_selector(self) -> dict[str, str]:
        """The labels that a node must have: every property except the marker for nested jobs."""
        return {key: value for key, value in self.properties.items() if key != NESTED_KIND[0]}

    def cores(self, nodes: int) -> int:
        return self.mc_cores * nodes

    def memory_gib(self, nodes: int) -> int:
        return self.mc_ram + self.mc_slave_ram * (nodes - 1)

    def scratch_gib(self, nodes: int) -> int:
        """The ephemeral storage of the job; 0 if the machine does not say."""
        return self.mc_scratch * nodes

    def gpus(self, nodes: int) -> int:
        return self.mc_gpus + self.mc_slave_gpus * (nodes - 1)
