"""`kns --version`, `kns validate`: thin commands over the model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kns import __version__
from kns.cli.unknown import find_unknown_keys
from kns.model.appdef import AppDef
from kns.model.parsing import find_problems

app = typer.Typer(
    name="kns",
    help="A scheduler for nested Kubernetes jobs. Without a command: run it, configured by the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
def validate(file: Annotated[Path, typer.Argument(help="An AppDef (JSON).", exists=True, dir_okay=False)]) -> None:
    """Check an AppDef and list every fault with its key path."""
    try:
        data = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        typer.echo(f"{file}: not JSON: {error}", err=True)
        raise typer.Exit(1) from error
    problems = find_problems(AppDef, data)
    for warning in find_unknown_keys(data):
        typer.echo(f"{file}: warning: {warning}", err=True)
    for problem in problems:
        typer.echo(f"{file}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{file}: valid")
