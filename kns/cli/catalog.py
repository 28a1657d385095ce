"""`kns catalog`: check a catalogue before it is deployed, and hash API keys."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kns.catalog_files import CatalogFiles, read_files
from kns.cli.exits import CommandError, Exit
from kns.cli.options import KubernetesVersions, Output, list_minors
from kns.cli.report import Report, escape
from kns.cli.review import review
from kns.cli.screen import Format
from kns.cli.session import find_screen
from kns.model.appdef.versions import DEFAULT_VERSIONS
from kns.model.catalog.catalog import Catalog, CatalogProblem, check_catalog, hash_key

_KEY_BYTES = 20
_SHORT = 20  # characters; the hash is fast, so a shorter key could be found from it

catalog = typer.Typer(name="catalog", help="Check a catalogue, hash an API key.", no_args_is_help=True)


@catalog.command()
def check(
    ctx: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The catalogue's directory.", exists=True, file_okay=False)
    ],
    kubernetes_versions: KubernetesVersions = DEFAULT_VERSIONS,
    output: Output = None,
) -> None:
    """
    Read a catalogue as the scheduler does, and list every problem as FILE:LINE:COLUMN: KEY PATH: PROBLEM.

    Warn of entries that are valid but probably wrong. Exit status: 0 valid, 1 problems, 2 wrong arguments.
    """
    files = read_files(directory)
    found, problems = check_catalog(files.files, files.problems)
    warnings = review(found, files, supported_versions=list_minors(kubernetes_versions))
    screen = find_screen(ctx, output)
    is_table = screen.output is Format.TABLE
    findings = _report(directory, files, problems, warnings, quiet=not is_table)
    if is_table:
        screen.line(f"{directory}: {'valid entries' if problems else 'valid'}: {summarize(found)}")
    else:
        screen.dump(
            {"directory": str(directory), "valid": not problems, "entries": _count_entries(found), "findings": findings}
        )
    if problems:
        result = f"{_count(len(problems), 'problem')}: kns would not load this catalogue"
        typer.echo(escape(f"{directory}: {result}"), err=True)
        raise typer.Exit(Exit.FAILED)


def _report(
    directory: Path,
    files: CatalogFiles,
    problems: Sequence[CatalogProblem],
    warnings: Sequence[CatalogProblem],
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    names = sorted({entry.file for entry in (*problems, *warnings)})
    reports = {name: Report(str(directory / name), files.texts.get(name), quiet=quiet) for name in names}
    for name, report in reports.items():
        report.problems(entry.problem for entry in problems if entry.file == name)
    for name, report in reports.items():
        report.warnings(entry.problem for entry in warnings if entry.file == name)
    return [finding for report in reports.values() for finding in report.found]


def _count_entries(found: Catalog) -> dict[str, int]:
    return {
        "users": len(found.users),
        "machines": len(found.machines),
        "nested_machines": sum(machine.runs_nested_jobs for machine in found.machines.values()),
        "apps": len(found.apps),
        "vaults": sum(len(vaults) for vaults in found.vaults.values()),
    }


def summarize(found: Catalog) -> str:
    """
    >>> summarize(Catalog(users={}, machines={}, apps={}, vaults={}))
    '0 users, 0 machines of which 0 run nested jobs, 0 apps, 0 vaults'
    """
    of = _count_entries(found)
    return (
        f"{_count(of['users'], 'user')}, {_count(of['machines'], 'machine')} of which {of['nested_machines']} run "
        f"nested jobs, {_count(of['apps'], 'app')}, {_count(of['vaults'], 'vault')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@catalog.command("hash-key")
def hash_key_command(
    ctx: typer.Context,
    generate: Annotated[bool, typer.Option("--generate", help="Create a new key and print it with its hash.")] = False,
    output: Output = None,
) -> None:
    """
    Print the `apikey_sha256` of an API key.

    The key comes from standard input or from a prompt. It is not an argument, because the shell would store it in its
    history. Exit status: 0 done, 1 no valid key, 2 wrong arguments.
    """
    screen = find_screen(ctx, output)
    if generate:
        key = secrets.token_hex(_KEY_BYTES)
        pairs = {"apikey": key, "apikey_sha256": hash_key(key)}
        screen.show(pairs, "\n".join(f"{name}: {value}" for name, value in pairs.items()))
        return
    key = _read_key()
    if not key or not key.isprintable() or key != key.strip():
        raise CommandError(
            Exit.FAILED, "the key must be one line of printable characters without spaces at its ends; try --generate"
        )
    if len(key) < _SHORT:
        screen.warn(f"a key of under {_SHORT} characters can be guessed from its hash; use --generate")
    screen.show({"apikey_sha256": hash_key(key)}, hash_key(key))


def _read_key() -> str:
    """The key without the line break that `echo` and editors add; "" if the input is not text."""
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True))
    try:
        raw = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return raw.removesuffix("\n").removesuffix("\r")
