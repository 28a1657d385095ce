"""A watch for the simulated parts of `bench.scale`: every event once, for as long as the cluster runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.logs import get_logger
from kns.model.errors import ExpiredError, KnsError

log = get_logger(__name__)

Event = tuple[str, dict[str, Any]]  # ADDED, MODIFIED or DELETED, and the object

_SILENCE_S = 120.0  # the server sends a bookmark every minute


def follow(
    client: KubeClient, path: str, *, is_closed: Callable[[], bool], query: Mapping[str, str] | None = None
) -> Iterator[Event]:
    """
    The objects that exist, as ADDED, and then every change, until `is_closed`. After a lost connection the watch goes
    on from the last event; if that has expired, all objects come as ADDED again.
    """
    version = "0"
    while not is_closed():
        wanted = {**(query or {}), "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        try:
            for line in client.stream_lines(path, query=wanted, read_timeout_s=_SILENCE_S):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    version = "0"
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
                if is_closed():
                    return
        except ExpiredError:
            version = "0"
        except KnsError as error:
            if not is_closed():
                log.warning("watch_interrupted", path=path, error=str(error))
