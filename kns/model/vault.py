"""A vault of the catalogue: storage of a user. kns can use NFS ones; the others are known by name only."""

import re
from ipaddress import IPv6Address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

_SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SHARE = re.compile(r"/[^\s\0]*")


class Vault(BaseModel):
    """
    `address` is `IP:/PATH` for `nfs`; a host name and an IPv6 address in brackets are read too.

    An address of another form is kept, and the vault counts as one that kns cannot use.
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
        Server and share of an NFS vault; None if kns cannot use the vault.

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


def _read_server(text: str) -> str:
    """Without the brackets of an IPv6 address; "" if it is no address and no name."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            return ""
    return text if _SERVER.fullmatch(text) else ""
