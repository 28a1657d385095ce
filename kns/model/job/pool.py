"""The setting of the warm pool: which kinds of virtual clusters are kept ready, and how many of each."""

import re
from dataclasses import dataclass

from kns.model.errors import InvalidInputError

ANY_MACHINE = "any"
MAX_POOLS = 16  # each is looked at every second, and has its own label value in the metrics
MAX_MEMBERS = 500  # of all pools; a typing error must not fill the host with namespaces

_ENTRY = re.compile(
    r"(?P<machine>[A-Za-z0-9][A-Za-z0-9._-]{0,61})(@v?(?P<version>1\.[0-9]{1,2}))?(?P<shell>\+shell)?=(?P<size>[0-9]{1,4})"
)


@dataclass(frozen=True, slots=True)
class PoolSize:
    """
    One pool. `machine` is a machine class of the catalogue; None fits every class that names no nodes. `version` is a
    Kubernetes minor version like `v1.36`, or "" for the site's default. `shell`: its members fit jobs with a web shell.
    """

    size: int
    machine: str | None = None
    version: str = ""
    shell: bool = False

    @property
    def name(self) -> str:
        """
        The pool in labels, metrics and logs. It is a valid label value.

        >>> PoolSize(1, "kns-large", "v1.35", shell=True).name, PoolSize(1).name
        ('kns-large.v1.35.shell', 'any')
        """
        parts = (self.machine or ANY_MACHINE, self.version, "shell" if self.shell else "")
        return ".".join(part for part in parts if part)


def parse_pools(text: str) -> tuple[PoolSize, ...]:
    """
    The pools in `machine[@version][+shell]=size`, separated by commas.

    >>> parse_pools("any=2, kns-large@1.35+shell=1") == (PoolSize(2), PoolSize(1, "kns-large", "v1.35", shell=True))
    True

    Raises:
        InvalidInputError: the text has another form, names a pool twice or exceeds a limit.
    """
    pools = tuple(_parse_entry(part.strip()) for part in text.split(",") if part.strip())
    if len({pool.name for pool in pools}) != len(pools):
        raise InvalidInputError("", "names a pool twice")
    if len(pools) > MAX_POOLS:
        raise InvalidInputError("", f"has {len(pools)} pools; at most {MAX_POOLS} are possible")
    members = sum(pool.size for pool in pools)
    if members > MAX_MEMBERS:
        raise InvalidInputError("", f"asks for {members} virtual clusters; at most {MAX_MEMBERS} are possible")
    return pools


def _parse_entry(text: str) -> PoolSize:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise InvalidInputError("", "must be a list of MACHINE[@VERSION][+shell]=SIZE, like any=2,kns-large@1.35=1")
    return PoolSize(
        size=int(match["size"]),
        machine=None if match["machine"] == ANY_MACHINE else match["machine"],
        version=f"v{match['version']}" if match["version"] else "",
        shell=match["shell"] is not None,
    )
