"""`kns preflight`: report what would keep jobs from running, before the first job does."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from kns.cli.exits import Exit
from kns.cli.options import AUTHORS, Output
from kns.cli.report import escape
from kns.cli.screen import Format
from kns.cli.session import find_screen
from kns.model.findings import Finding, Severity

_INDENT = " " * 9


def add_preflight(app: typer.Typer, check_site: Callable[[], Iterable[Finding]]) -> None:
    """Add the command to `app`. `check_site` is a parameter, because the command line does not import adapters."""

    @app.command(rich_help_panel=AUTHORS)
    def preflight(
        ctx: typer.Context,
        as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
        output: Output = None,
    ) -> None:
        """
        Check settings, catalogue, and the host cluster: versions, rights, policies, classes, nodes, webhooks.

        Uses the administrator's KUBECONFIG if it is set, else the account of kns, which cannot see everything.
        Exit status: 0 no fault, 1 faults.
        """
        report(ctx, Format.JSON if as_json else output, check_site(), count=True)


def report(ctx: typer.Context, output: Format | None, found: Iterable[Finding], *, count: bool = False) -> None:
    """
    Print findings: each as soon as it is there, and perhaps their count, or all of them as JSON or YAML. End with
    status 1 if there is a fault.
    """
    screen = find_screen(ctx, output)
    findings = []
    for finding in found:
        findings.append(finding)
        if screen.output is Format.TABLE:
            show(finding)
    if screen.output is not Format.TABLE:
        screen.dump([_to_data(finding) for finding in findings])
    elif count:
        counts = Counter(finding.severity for finding in findings)
        typer.echo(", ".join(f"{counts[severity]} {severity}" for severity in Severity))
    if any(finding.severity is Severity.FAULT for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _to_data(finding: Finding) -> dict[str, str]:
    """The published keys; `verdict` is the severity."""
    return {"check": finding.check, "verdict": str(finding.severity), "said": finding.said, "todo": finding.todo}


def show(finding: Finding) -> None:
    """Print a finding, and what to do about it."""
    typer.echo(escape(f"{finding.severity:<8} {finding.check}: {finding.said}"))
    if finding.todo:
        typer.echo(escape(f"{_INDENT}{finding.todo}"))
