"""The address and the accounts of a measurement, as `make env` prints them."""

from collections.abc import Mapping

from bench.errors import BenchError
from kns.client import ApiKey

PREFIXES = ("KNS", "KNS_OTHER", "KNS_PAYER", "KNS_ADMIN")


def read_url(environ: Mapping[str, str]) -> str:
    """
    The address of kns.

    Raises:
        BenchError: the environment does not contain it.
    """
    if not (url := environ.get("KNS_URL", "")):
        raise BenchError('KNS_URL is not set; run eval "$(make -s env)"')
    return url.rstrip("/")


def read_accounts(environ: Mapping[str, str]) -> list[ApiKey]:
    """
    Every account in the environment, at least one.

    Raises:
        BenchError: the environment contains none.
    """
    pairs = [(environ.get(f"{prefix}_USERNAME", ""), environ.get(f"{prefix}_APIKEY", "")) for prefix in PREFIXES]
    found = [ApiKey(username, apikey) for username, apikey in pairs if username and apikey]
    if not found:
        raise BenchError('KNS_USERNAME and KNS_APIKEY are not set; run eval "$(make -s env)"')
    return found
