"""The program `kns`: its commands together, and `kns validate`, which calls the model."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from kns import __version__
from kns.cli.catalog import catalog
from kns.cli.cluster import clusters
from kns.cli.control import control
from kns.cli.exits import CommandError, Exit, KnsGroup
from kns.cli.gateway import credentials
from kns.cli.input_files import read_input
from kns.cli.jobs import jobs
from kns.cli.login import sites
from kns.cli.logs import outputs
from kns.cli.offers import offers
from kns.cli.options import AUTHORS, KubernetesVersions, Output, list_minors
from kns.cli.overview import overviews
from kns.cli.report import Report
from kns.cli.screen import Format
from kns.cli.session import find_screen, open_session
from kns.cli.submit import submission
from kns.cli.unknown import find_unknown_keys
from kns.model.appdef.appdef import AppDef
from kns.model.appdef.versions import DEFAULT_VERSIONS, find_unsupported
from kns.model.reading.parsing import check_model
from kns.model.reading.problem import Problem
from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text

app = typer.Typer(
    name="kns",
    cls=KnsGroup,
    help="Submit, watch and end jobs of kns, each of which runs in a Kubernetes cluster of its own.",
    epilog="Exit statuses: 0 done, 1 the job or a check failed, 2 wrong arguments, 3 not signed in, 4 not found, "
    "5 refused, 6 no answer, 7 timeout, 8 the job was terminated or canceled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS = {
    "Jobs": (submission, jobs, outputs, control, clusters),
    "The site": (offers, overviews),
    "Sign in": (sites, credentials),
}
for panel, groups in _PANELS.items():
    for group in groups:
        for command in group.registered_commands:
            if not isinstance(command.rich_help_panel, str):
                command.rich_help_panel = panel
        app.registered_commands += group.registered_commands
app.add_typer(catalog, rich_help_panel=AUTHORS)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"kns {__version__}")
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="The site to use; see `kns profiles`. KNS_PROFILE.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Address of kns, without /jarvice. KNS_URL.")] = None,
    output: Output = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version
    ctx.obj = open_session(ctx, profile=profile, url=url, output=output, color=not no_color, quiet=quiet)


@app.command(rich_help_panel=AUTHORS)
def validate(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An AppDef (JSON).", exists=True, dir_okay=False, readable=True)
    ],
    kubernetes_versions: KubernetesVersions = DEFAULT_VERSIONS,
    output: Output = None,
) -> None:
    """
    Check an AppDef and list every problem as FILE:LINE:COLUMN: KEY PATH: PROBLEM.

    Warn of keys that kns does not know, and of paths that do not exist in the folder `templates` next to the file.
    Exit status: 0 valid, 1 problems, 2 wrong arguments.
    """
    screen = find_screen(ctx, output)
    report, is_valid = _check(file, kubernetes_versions, quiet=screen.output is not Format.TABLE)
    screen.record({"file": str(file), "valid": is_valid, "findings": report.found})
    if not is_valid:
        raise typer.Exit(Exit.FAILED)
    if screen.output is Format.TABLE:
        screen.line(f"{file}: valid")


def _check(file: Path, kubernetes_versions: str, *, quiet: bool) -> tuple[Report, bool]:
    """The report on an AppDef, and whether it is valid."""
    report = Report(str(file), None, quiet=quiet)
    try:
        text = decode_text(read_input(file))
        report = Report(str(file), text, quiet=quiet)
        decoded = decode_json(text)
    except OSError as error:
        raise CommandError(Exit.USAGE, f"cannot read {file}: {error.strerror}") from error
    except NotJsonError as error:
        report.problems([error.problem])
        return report, False
    reported = {problem.location for problem in decoded.problems}
    appdef, invalid = check_model(AppDef, decoded.data)
    found = [*invalid, *find_unsupported(decoded.data, list_minors(kubernetes_versions))]
    problems = [*decoded.problems, *(problem for problem in found if problem.location not in reported)]
    report.problems(problems)
    report.warnings([*find_unknown_keys(decoded.data), *_find_missing(appdef, file.parent / "templates")])
    return report, not problems


def _find_missing(appdef: AppDef | None, templates: Path) -> Iterator[Problem]:
    """
    Paths that do not exist in the folder `templates`, which becomes part of the image. None if there is no folder.
    """
    if appdef is None or not templates.is_dir():
        return
    for key, command in appdef.commands.items():
        for index, item in enumerate(command.nested_kubernetes.templates):
            path = None if item.type == "custom" or item.format else item.path
            if path and not os.path.exists(templates / path):  # noqa: PTH110 - never raises, even for a very long path
                location = ("commands", key, "nested_kubernetes", "templates", index, "path")
                yield Problem(location, f"is not in {templates}")
