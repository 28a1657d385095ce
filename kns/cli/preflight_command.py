"""`kns preflight`: report what would keep jobs from running, before the first job does."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from kns.cli.options import AUTHORS
from kns.cli.report import escape
from kns.model.findings import Finding, Severity

_INDENT = " " * 9


def add_preflight(app: typer.Typer, check_site: Callable[[], Iterable[Finding]]) -> None:
    """Add the command to `app`. `check_site` is a parameter, because the command line does not import adapters."""

    @app.command(rich_help_panel=AUTHORS)
    def preflight(
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of lines.")] = False,
    ) -> None:
        """
        Check settings, catalogue, and the host cluster: versions, rights, policies, classes, nodes, webhooks.

        Uses the administrator's KUBECONFIG if it is set, else the account of kns, which cannot see everything.
        Exit status: 0 no fault, 1 faults.
        """
        findings = []
        for finding in check_site():
            findings.append(finding)
            if not as_json:
                show(finding)
        if as_json:
            typer.echo(json.dumps([_to_json(finding) for finding in findings], indent=2))
        else:
            counts = Counter(finding.severity for finding in findings)
            typer.echo(", ".join(f"{counts[severity]} {severity}" for severity in Severity))
        if any(finding.severity is Severity.FAULT for finding in findings):
            raise typer.Exit(1)


def _to_json(finding: Finding) -> dict[str, str]:
    """The published keys; `verdict` is the severity."""
    return {"check": finding.check, "verdict": finding.severity, "said": finding.said, "todo": finding.todo}


def show(finding: Finding) -> None:
    """Print a finding, and what to do about it."""
    typer.echo(escape(f"{finding.severity:<8} {finding.check}: {finding.said}"))
    if finding.todo:
        typer.echo(escape(f"{_INDENT}{finding.todo}"))
