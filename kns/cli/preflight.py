"""`kns preflight`: what would keep jobs from running, told before the first job does."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from kns.cli.report import escape
from kns.model.findings import Finding, Judgement

_INDENT = " " * 9


def add_preflight(app: typer.Typer, check_site: Callable[[], Iterable[Finding]]) -> None:
    """Add the command; `check_site` asks the cluster, which no other command does."""

    @app.command()
    def preflight(
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of lines.")] = False,
    ) -> None:
        """
        Check settings, catalogue, and the host cluster: versions, rights, policies, classes, nodes, webhooks.

        Asks as the administrator of KUBECONFIG, else as kns's own account, which may not see all.
        Exit status: 0 no fault, 1 faults.
        """
        findings = []
        for finding in check_site():
            findings.append(finding)
            if not as_json:
                _show(finding)
        if as_json:
            typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            counts = Counter(finding.verdict for finding in findings)
            typer.echo(", ".join(f"{counts[verdict]} {verdict}" for verdict in Judgement))
        if any(finding.verdict is Judgement.FAULT for finding in findings):
            raise typer.Exit(1)


def _show(finding: Finding) -> None:
    typer.echo(escape(f"{finding.verdict:<8} {finding.check}: {finding.said}"))
    if finding.todo:
        typer.echo(escape(f"{_INDENT}{finding.todo}"))
