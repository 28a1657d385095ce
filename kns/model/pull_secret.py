"""Credentials for an app's image, as the catalogue holds them. A message never repeats a part of them."""

import base64
import json
from typing import Any

_WANTED = "must be the base64 of a Docker config.json"


def check_pull_secret(text: str) -> str:
    """
    `text` if it is base64 of a dockerconfigjson object, which is what a Secret of that type must hold.

    Raises:
        ValueError: what it is instead.
    """
    try:
        config: Any = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        raise ValueError(f"{_WANTED}; it is not base64 of JSON") from None  # the cause would show the secret
    auths = config.get("auths") if isinstance(config, dict) else None
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise ValueError(f"{_WANTED}; there is no object `auths` of objects in it")
    return text
