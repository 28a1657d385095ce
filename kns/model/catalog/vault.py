"""
A vault of the catalogue: storage of a user. kns can mount NFS vaults; of other vaults it knows only the name.

The vault of a job is stored at submit (`AcceptedVault`). kns never reads the address of a volume from inside the
virtual cluster.
"""

import re
from ipaddress import IPv6Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from kns.model import names

_SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SHARE = re.compile(r"/[^\s\0]*")


class Vault(BaseModel):
    """
    `address` is `IP:/PATH` for `nfs`. A host name, or an IPv6 address in brackets, is valid too.

    A vault with any other address is stored, but kns cannot mount it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    address: Annotated[str, StringConstraints(max_length=4096)] = ""

    @model_validator(mode="after")
    def _check_whole(self) -> "Vault":
        if self.type == "nfs" and not self.address:
            raise ValueError("address is required for type nfs, as IP:/PATH")
        return self

    @property
    def export(self) -> tuple[str, str] | None:
        """
        Server and share of an NFS vault; None if kns cannot mount the vault.

        >>> Vault(type="nfs", address="10.0.0.1:/home/ana").export
        ('10.0.0.1', '/home/ana')
        >>> Vault(type="nfs", address="[fd00::1]:/home").export
        ('fd00::1', '/home')
        >>> Vault(type="ceph", address="10.0.0.1:/x").export
        """
        server, colon, share = self.address.partition(":/")
        server = _read_server(server)
        if self.type != "nfs" or not colon or not server or not _SHARE.fullmatch(f"/{share}"):
            return None
        return server, f"/{share}"


class AcceptedVault(BaseModel):
    """The NFS vault of one job. `storage_class` is the class of its claims, in the virtual cluster and on the host."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    type: Literal["nfs"] = "nfs"
    server: str
    share: str
    readonly: bool = False
    storage_class: str


def accept_vault(vault: Vault, *, user: str, name: str, readonly: bool) -> AcceptedVault | None:
    """The vault `name` for a job of `user`; None if kns cannot mount it."""
    export = vault.export
    if export is None:
        return None
    server, share = export
    return AcceptedVault(server=server, share=share, readonly=readonly, storage_class=names.vault_class(user, name))


def _read_server(text: str) -> str:
    """The server without the brackets of an IPv6 address; "" if it is neither an address nor a name."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            return ""
    return text if _SERVER.fullmatch(text) else ""
