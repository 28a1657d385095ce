"""
The program `rstudio-kubernetes-launcher`: reads arguments and files, gives up root, and runs the plugin.

Only frames reach the real stdout. Log lines go to a file in logging-dir, or to stderr if that is not possible.
"""

import contextlib
import logging
import os
import pwd
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from kns import __version__
from kns.launcher.config.arguments import Arguments, Mode, parse_arguments
from kns.launcher.config.groups import list_group_numbers
from kns.launcher.config.options import OPTIONS, Source
from kns.launcher.config.problems import ConfigError
from kns.launcher.config.settings import Reading, find_scratch_path
from kns.launcher.ports import Options, Renderer
from kns.launcher.templates.commands import run_command
from kns.launcher.templates.renderer import TemplateRenderer
from kns.logs import configure_logging, get_logger
from kns.model.errors import KnsError

NAME = "rstudio-kubernetes-launcher"
_LEVELS = {"ERR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO, "DEBUG": logging.DEBUG}
_SCRATCH_MODE = 0o755  # as the Launcher's own plugins: other services read session files there

log = get_logger(__name__)


def run() -> None:
    """The entry point. Threads that still wait for the cluster end with the process."""
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):  # log lines that a full disk did not take; a command's output was written
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str]) -> int:
    """Run the program; its exit code: 0 done, 1 problems, which are on stderr."""
    try:
        arguments = parse_arguments(argv)
        if arguments.mode is Mode.SERVE:
            return _serve(arguments)
        if arguments.mode in (Mode.VERSION, Mode.HELP):
            _say(f"{NAME} of kns {__version__}" if arguments.mode is Mode.VERSION else _help())
            return 0
        return run_command(arguments.mode, find_scratch_path(arguments), _say, verbose=arguments.verbose)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{NAME}: {problem}", file=sys.stderr)  # noqa: T201 - for whoever starts it
    except KnsError as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
    return 1


def _serve(arguments: Arguments) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # it would end the process; `run_plugin` takes it
    # The template commands start without the client of the cluster.
    from kns.launcher.built import BuiltObjects
    from kns.launcher.process import open_outbox, run_plugin, take_stdout

    frames: IO[bytes] = take_stdout()
    reading, stop = Reading(arguments), threading.Event()
    options = reading.options
    if reading.problems:
        reading.read()  # raises them, with those of the other files
    # Before the system is asked for users: a directory service that hangs must not stop the heartbeats.
    outbox = open_outbox(options, frames, stop)
    settings = reading.read()
    if os.geteuid() == 0 and not options.unprivileged:
        _make_folders(options)
        _become(options.server_user)
    else:
        _make_folders(options, owner=None)
    _log_to_file(options.logging_dir)
    configure_logging(logging.DEBUG if options.debug else _LEVELS[settings.log_level])
    for warning in (*settings.warnings, *settings.profiles.warnings):
        log.warning("configuration", problem=str(warning))
    templates = None
    if options.use_templating:
        templates = TemplateRenderer(options.scratch_path, warn=log.warning, groups=settings.profiles.groups)
    renderer: Renderer = templates or BuiltObjects()
    return run_plugin(
        options,
        settings.profiles,
        renderer,
        requests=0,
        outbox=outbox,
        stop=stop,
        reload=lambda: _reload(templates),
    )


def _reload(templates: TemplateRenderer | None) -> None:
    if templates is not None and templates.reload():
        log.info("templates_reloaded")


def _make_folders(options: Options, *, owner: str | None = "") -> None:
    """
    The scratch and the log folder. `owner` "" is the server user, None nobody in particular.

    Raises:
        KnsError: the scratch folder cannot be made. Without the log folder the plugin logs to stderr.
    """
    for folder, is_needed in ((options.scratch_path, True), (options.logging_dir, False)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if owner is not None:
                user = pwd.getpwnam(owner or options.server_user)
                os.chown(folder, user.pw_uid, user.pw_gid)
                if is_needed:
                    folder.chmod(_SCRATCH_MODE)
            if is_needed and not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError("no right to write")
        except OSError as error:
            if is_needed:
                raise KnsError(f"scratch-path: {folder} cannot be used: {error.strerror or error}") from error
            print(f"{NAME}: logging-dir: {folder} cannot be used: {error.strerror or error}", file=sys.stderr)  # noqa: T201 - for whoever starts it


def _become(user: str) -> None:
    """
    Give up root for good. The groups come first: afterwards there is no right to change them.

    Raises:
        KnsError: the system does not let it.
    """
    entry = pwd.getpwnam(user)
    try:
        os.setgroups(list_group_numbers(user, entry.pw_gid))
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise KnsError(f"server-user: cannot become {user}: {error.strerror or error}") from error
    os.environ["HOME"] = entry.pw_dir


def _log_to_file(folder: Path) -> None:
    """Log lines are written to fd 1, which `take_stdout` separated from the frames. Now it is the file."""
    path = folder / f"{NAME}.log"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    except OSError as error:
        print(f"{NAME}: {path} cannot be written: {error.strerror}; messages are here", file=sys.stderr)  # noqa: T201 - for whoever starts it
        return
    os.dup2(fd, 1)
    os.close(fd)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for whoever starts it - a command for people, without frames


def _help() -> str:
    options = [
        f"  --{name}=VALUE  {option.effect}" for name, option in OPTIONS.items() if option.source is not Source.FILE
    ]
    modes = [
        "  --generate-templates  Write job.tpl and service.tpl to the scratch folder, unless they exist.",
        "  --diff-templates      Show what was changed in them.",
        "  --validate-templates  Check them; with --verbose print the YAML of a sample job.",
    ]
    head = f"{NAME}: the Kubernetes plugin of the Posit Job Launcher, by kns {__version__}. The Launcher starts it."
    return "\n".join([head, *modes, *options])


if __name__ == "__main__":
    run()
