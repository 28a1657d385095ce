"""`kns --version`, `kns validate`, `kns catalog`: commands that call the model."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from kns import __version__
from kns.cli.catalog import catalog
from kns.cli.options import KubernetesVersions, list_minors
from kns.cli.report import Report, escape
from kns.cli.unknown import find_unknown_keys
from kns.model.appdef.appdef import AppDef
from kns.model.appdef.versions import DEFAULT_VERSIONS, find_unsupported
from kns.model.reading.parsing import check_model
from kns.model.reading.problem import Problem
from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text

app = typer.Typer(
    name="kns",
    help="A scheduler for nested Kubernetes jobs. Without a command, run it with the settings of the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"kns {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


@app.command()
def validate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An AppDef (JSON).", exists=True, dir_okay=False, readable=True)
    ],
    kubernetes_versions: KubernetesVersions = DEFAULT_VERSIONS,
) -> None:
    """
    Check an AppDef and list every problem as FILE:LINE:COLUMN: KEY PATH: PROBLEM.

    Warn of keys that kns does not know, and of paths that do not exist in the folder `templates` next to the file.
    Exit status: 0 valid, 1 problems, 2 wrong arguments.
    """
    try:
        text = decode_text(file.read_bytes())
    except NotJsonError as error:
        Report(str(file), None).problems([error.problem])
        raise typer.Exit(1) from error
    report = Report(str(file), text)
    try:
        decoded = decode_json(text)
    except NotJsonError as error:
        report.problems([error.problem])
        raise typer.Exit(1) from error
    reported = {problem.location for problem in decoded.problems}
    appdef, invalid = check_model(AppDef, decoded.data)
    found = [*invalid, *find_unsupported(decoded.data, list_minors(kubernetes_versions))]
    problems = [*decoded.problems, *(problem for problem in found if problem.location not in reported)]
    report.problems(problems)
    report.warnings([*find_unknown_keys(decoded.data), *_find_missing(appdef, file.parent / "templates")])
    if problems:
        raise typer.Exit(1)
    typer.echo(escape(f"{file}: valid"))


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
