"""The accounts that a measurement uses, as `make env` prints them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.errors import BenchError

PREFIXES = ("KNS", "KNS_OTHER", "KNS_PAYER", "KNS_ADMIN")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a request comes from."""

    username: str
    apikey: str = field(repr=False)

    @property
    def credentials(self) -> dict[str, str]:
        """As `submit` takes them in its body, and every other route as parameters."""
        return {"username": self.username, "apikey": self.apikey}


def read_url(environ: Mapping[str, str]) -> str:
    """
    Where kns is.

    Raises:
        BenchError: the environment does not say.
    """
    if not (url := environ.get("KNS_URL", "")):
        raise BenchError('KNS_URL is not set; eval "$(make -s env)"')
    return url.rstrip("/")


def read_accounts(environ: Mapping[str, str]) -> list[Account]:
    """
    All that the environment names, at least one.

    Raises:
        BenchError: it names none.
    """
    pairs = [(environ.get(f"{prefix}_USERNAME", ""), environ.get(f"{prefix}_APIKEY", "")) for prefix in PREFIXES]
    found = [Account(username, apikey) for username, apikey in pairs if username and apikey]
    if not found:
        raise BenchError('KNS_USERNAME and KNS_APIKEY are not set; eval "$(make -s env)"')
    return found
