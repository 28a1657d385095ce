"""
The demo's accounts and their API keys. The keys are created once and stored in a file with mode 0600 outside the
checkout. The cluster gets only their hashes.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.files import write_private
from kns.model.catalog.catalog import hash_key

# user1 and user2 are one team, led by payer1. Only user1 has the account variable that examples/parameters requires;
# the
# value is not a real secret.
ACCOUNTS: Mapping[str, Mapping[str, Any]] = {
    "user1": {
        "payer": "payer1",
        "name": "First user",
        "email": "user1@example.org",
        "projects": ["orion"],
        "variables": {"LAB_TOKEN": "what-the-lab-knows-user1-by"},
    },
    "user2": {"payer": "payer1", "name": "Second user", "email": "user2@example.org", "projects": ["vega"]},
    "payer1": {"team_admin": True, "name": "Team lead", "email": "payer1@example.org"},
    "admin1": {"admin": True, "name": "Administrator", "email": "admin1@example.org"},
}

# No server runs at this address. It suffices for a storage class, and no job of the demo uses the volume.
VAULTS: Mapping[str, Mapping[str, Any]] = {"user1": {"data": {"type": "nfs", "address": "127.0.0.1:/srv/user1"}}}


def load_keys(state: Path) -> dict[str, str]:
    """
    The API key of each account. The keys are created at the first call.

    Raises:
        DemoError: the file is damaged.
    """
    file = state / "keys.json"
    known: dict[str, str] = {}
    if file.exists():
        try:
            known = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise DemoError(f"{file} is not valid JSON: {error}; remove it, and the demo creates new keys") from error
    if all(known.get(name) for name in ACCOUNTS):
        return known
    keys = {name: known.get(name) or secrets.token_hex(20) for name in ACCOUNTS}
    write_private(file, json.dumps(keys, indent=2) + "\n")
    return keys


def build_users(keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """
    `users.json`: every account with the hash of its key.
    """
    return {name: {**account, "apikey_sha256": hash_key(keys[name])} for name, account in ACCOUNTS.items()}
