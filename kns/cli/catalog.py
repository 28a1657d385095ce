"""`kns catalog`: check a catalogue before it is deployed, and hash API keys."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kns.catalog_files import CatalogFiles, read_files
from kns.cli.options import KubernetesVersions, list_minors
from kns.cli.report import Report, escape
from kns.cli.review import review
from kns.model.appdef.versions import DEFAULT_VERSIONS
from kns.model.catalog.catalog import Catalog, CatalogProblem, check_catalog, hash_key

_KEY_BYTES = 20
_SHORT = 20  # characters; the hash is fast, so a shorter key could be found from it

catalog = typer.Typer(name="catalog", help="Check a catalogue, hash an API key.", no_args_is_help=True)


@catalog.command()
def check(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The catalogue's directory.", exists=True, file_okay=False)
    ],
    kubernetes_versions: KubernetesVersions = DEFAULT_VERSIONS,
) -> None:
    """
    Read a catalogue as the scheduler does, and list every problem as FILE:LINE:COLUMN: KEY PATH: PROBLEM.

    Warn of entries that are valid but probably wrong. Exit status: 0 valid, 1 problems, 2 wrong arguments.
    """
    files = read_files(directory)
    found, problems = check_catalog(files.files, files.problems)
    warnings = review(found, files, supported_versions=list_minors(kubernetes_versions))
    _report(directory, files, problems, warnings)
    if problems:
        typer.echo(escape(f"{directory}: valid entries: {summarize(found)}"))
        result = f"{_count(len(problems), 'problem')}: kns would not load this catalogue"
        typer.echo(escape(f"{directory}: {result}"), err=True)
        raise typer.Exit(1)
    typer.echo(escape(f"{directory}: valid: {summarize(found)}"))


def _report(
    directory: Path, files: CatalogFiles, problems: Sequence[CatalogProblem], warnings: Sequence[CatalogProblem]
) -> None:
    names = sorted({entry.file for entry in (*problems, *warnings)})
    reports = {name: Report(str(directory / name), files.texts.get(name)) for name in names}
    for name, report in reports.items():
        report.problems(entry.problem for entry in problems if entry.file == name)
    for name, report in reports.items():
        report.warnings(entry.problem for entry in warnings if entry.file == name)


def summarize(found: Catalog) -> str:
    """
    >>> summarize(Catalog(users={}, machines={}, apps={}, vaults={}))
    '0 users, 0 machines of which 0 run nested jobs, 0 apps, 0 vaults'
    """
    nested = sum(machine.runs_nested_jobs for machine in found.machines.values())
    vaults = sum(len(vaults) for vaults in found.vaults.values())
    return (
        f"{_count(len(found.users), 'user')}, {_count(len(found.machines), 'machine')} of which {nested} run nested "
        f"jobs, {_count(len(found.apps), 'app')}, {_count(vaults, 'vault')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@catalog.command("hash-key")
def hash_key_command(
    generate: Annotated[bool, typer.Option("--generate", help="Create a new key and print it with its hash.")] = False,
) -> None:
    """
    Print the `apikey_sha256` of an API key.

    The key comes from standard input or from a prompt. It is not an argument, because the shell would store it in its
    history. Exit status: 0 done, 1 no valid key, 2 wrong arguments.
    """
    if generate:
        key = secrets.token_hex(_KEY_BYTES)
        typer.echo(f"apikey: {key}")
        typer.echo(f"apikey_sha256: {hash_key(key)}")
        return
    key = _read_key()
    if not key or not key.isprintable() or key != key.strip():
        typer.echo("the key must be one line of printable characters without spaces at its ends", err=True)
        raise typer.Exit(1)
    if len(key) < _SHORT:
        typer.echo(
            f"warning: a key of under {_SHORT} characters can be guessed from its hash; use --generate", err=True
        )
    typer.echo(hash_key(key))


def _read_key() -> str:
    """The key without the line break that `echo` and editors add; "" if the input is not text."""
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True))
    try:
        raw = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return raw.removesuffix("\n").removesuffix("\r")
