"""`kns catalog`: what an administrator needs to write a catalogue and to be sure of it before it is rolled out."""

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
_SHORT = 20  # characters; the hash is a quick one, so only a long random key is safe in it

catalog = typer.Typer(name="catalog", help="Check a catalogue, hash an API key.", no_args_is_help=True)


@catalog.command()
def check(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The catalogue's directory.", exists=True, file_okay=False)
    ],
    kubernetes_versions: KubernetesVersions = DEFAULT_VERSIONS,
) -> None:
    """
    Read a catalogue as the scheduler would, and list every fault as FILE:LINE:COLUMN: KEY PATH: FAULT.

    Warnings are for what is allowed and most likely not meant. Exit status: 0 usable, 1 faults, 2 wrong use of the
    command.
    """
    files = read_files(directory)
    found, problems = check_catalog(files.files, files.problems)
    warnings = review(found, files, supported_versions=list_minors(kubernetes_versions))
    _tell(directory, files, problems, warnings)
    if problems:
        typer.echo(escape(f"{directory}: good entries: {summarize(found)}"))
        told = f"{_count(len(problems), 'fault')}: kns would not take this catalogue"
        typer.echo(escape(f"{directory}: {told}"), err=True)
        raise typer.Exit(1)
    typer.echo(escape(f"{directory}: valid: {summarize(found)}"))


def _tell(
    directory: Path, files: CatalogFiles, problems: Sequence[CatalogProblem], warnings: Sequence[CatalogProblem]
) -> None:
    names = sorted({entry.file for entry in (*problems, *warnings)})
    reports = {name: Report(str(directory / name), files.texts.get(name)) for name in names}
    for name, report in reports.items():
        report.faults(entry.problem for entry in problems if entry.file == name)
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
    generate: Annotated[bool, typer.Option("--generate", help="Make a new key, and print it with its hash.")] = False,
) -> None:
    """
    Print the `apikey_sha256` of an API key.

    The key is read from standard input, or asked for on a terminal; as an argument it would stay in the history of
    the shell. Exit status: 0 done, 1 no usable key, 2 wrong use of the command.
    """
    if generate:
        key = secrets.token_hex(_KEY_BYTES)
        typer.echo(f"apikey: {key}")
        typer.echo(f"apikey_sha256: {hash_key(key)}")
        return
    key = _read_key()
    if not key or not key.isprintable() or key != key.strip():
        typer.echo("the key must be one line of printable characters, without spaces around it", err=True)
        raise typer.Exit(1)
    if len(key) < _SHORT:
        typer.echo(f"warning: a key below {_SHORT} characters can be guessed from its hash; try --generate", err=True)
    typer.echo(hash_key(key))


def _read_key() -> str:
    """Without the line break that `echo` and editors add; "" for what is no text."""
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True))
    try:
        raw = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return raw.removesuffix("\n").removesuffix("\r")
