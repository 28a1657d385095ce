"""
The plugin's process for tests: `python -m tests.launcher.child '{"api_url": ..., "profile": {...}}'`.

As the real program, without configuration files: options and one profile for all users come from the argument.
"""

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from kns.launcher.built import BuiltObjects
from kns.launcher.ports import Options, Profile, ResourceLimit
from kns.launcher.process import open_outbox, run_plugin, take_stdout
from kns.logs import configure_logging


class OneProfile:
    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def for_user(self, user: str) -> Profile:
        del user
        return self._profile


def read_profile(given: dict[str, Any]) -> Profile:
    data = dict(given)
    data["limits"] = tuple(ResourceLimit(**limit) for limit in data.get("limits") or ())
    data["constraints"] = tuple((name, value) for name, value in data.get("constraints") or ())
    data["images"] = tuple(data.get("images") or ())
    data["json_overrides"] = tuple((pointer, value) for pointer, value in data.get("json_overrides") or ())
    return Profile(**data)


def main() -> None:
    settings = json.loads(sys.argv[1])
    profile = read_profile(settings.pop("profile", {}))
    for key in ("scratch_path", "auth_token_path", "nested_credentials_path"):
        if key in settings:
            settings[key] = Path(settings[key])
    frames = take_stdout()
    configure_logging(logging.DEBUG)
    print("this text must not reach the Launcher", flush=True)  # noqa: T201 - what a library might do
    options, stop = Options(**settings), threading.Event()
    outbox = open_outbox(options, frames, stop)
    code = run_plugin(options, OneProfile(profile), BuiltObjects(), requests=0, outbox=outbox, stop=stop)
    os._exit(code)


if __name__ == "__main__":
    main()
