"""
`python -m kns`: the scheduler without arguments, the command line with them. The program `kns` is always the command
line.

The command line imports nothing of the scheduler, so that it works and starts quickly without its dependencies.
"""

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from kns.model.findings import Finding


def run() -> None:
    if len(sys.argv) == 1:
        sys.exit(_run_scheduler())
    run_command_line()


def run_command_line() -> None:
    from kns.cli.app import app
    from kns.cli.posit_command import add_posit
    from kns.cli.preflight_command import add_preflight
    from kns.cli.prepare_command import add_prepare
    from kns.cli.render_command import add_render

    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it; a connection would get its number
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the program ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale may lack the characters of an answer
    add_preflight(app, _check_site)
    add_prepare(app, _prepare_site)
    add_render(app, _render_job)
    add_posit(app, _load_posit_tools)
    app(prog_name="kns")


def _run_scheduler() -> int:
    try:
        from kns.main import run as run_scheduler
    except ModuleNotFoundError as error:
        return _explain_missing(error)
    return run_scheduler()


def _check_site() -> Iterable[Finding]:
    """Imported when asked for: the other commands need no cluster, and start without all that talks to one."""
    try:
        from kns.preflight import check_site
    except ModuleNotFoundError as error:
        sys.exit(_explain_missing(error))
    return check_site()


def _prepare_site(all_versions: bool) -> Iterable[Finding]:
    """Imported when asked for, as above."""
    try:
        from kns.prepare import prepare_site
    except ModuleNotFoundError as error:
        sys.exit(_explain_missing(error))
    return prepare_site(all_versions=all_versions)


def _render_job(body: Mapping[str, Any], **options: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Imported when asked for, as above."""
    try:
        from kns.render import render_job
    except ModuleNotFoundError as error:
        sys.exit(_explain_missing(error))
    return render_job(body, **options)


def _load_posit_tools() -> ModuleType:
    """Imported when asked for, as above."""
    try:
        from kns.launcher.tools import commands
    except ModuleNotFoundError as error:
        sys.exit(_explain_missing(error, extra="posit"))
    return commands


def _explain_missing(error: ModuleNotFoundError, extra: str = "server") -> int:
    how = f"`pip install '.[{extra}]'` in a checkout of kns installs it"
    print(f"kns: the module {error.name} is missing; {how}", file=sys.stderr)  # noqa: T201 - no log yet
    return 2


if __name__ == "__main__":
    run()
