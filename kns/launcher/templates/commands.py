"""`--generate-templates`, `--diff-templates` and `--validate-templates`, which need no Launcher and no cluster."""

from collections.abc import Callable
from pathlib import Path

from kns.launcher.config.arguments import Mode
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.folder import DiffError, diff, generate
from kns.launcher.templates.validate import validate

Say = Callable[[str], None]


def run_command(mode: Mode, folder: Path, say: Say, *, verbose: bool = False) -> int:
    """
    Run a template command on a folder. Return the exit status: 0 done, 1 problems.

    `say` gets the lines of stdout. `mode` is one of the template modes.
    """
    try:
        if mode is Mode.GENERATE:
            return _generate(folder, say)
        if mode is Mode.DIFF:
            say(diff(folder).rstrip("\n") or f"The templates in {folder} are the default ones.")
            return 0
        if mode is Mode.VALIDATE:
            return _validate(folder, say, verbose=verbose)
    except (TemplateError, DiffError) as error:
        say(str(error))
        return 1
    raise ValueError(f"{mode} is not a template command")


def _generate(folder: Path, say: Say) -> int:
    written = generate(folder)
    for path in written:
        say(f"wrote {path}")
    if not written:
        say(f"{folder} has both templates already; nothing was changed")
    return 0


def _validate(folder: Path, say: Say, *, verbose: bool) -> int:
    validation = validate(folder)
    if verbose:
        for text in validation.texts.values():
            say(f"---\n{text.strip()}")
    for finding in validation.findings:
        say(f"{'# ' if verbose else ''}{finding}")  # as a comment, so that kubectl can read the output
    if not validation.findings:
        say(f"{'# ' if verbose else ''}The templates in {folder} are valid.")
    return 1 if validation.findings else 0
