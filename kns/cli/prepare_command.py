"""`kns prepare`: make the prepared states by hand, before the first job needs them."""

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from kns.cli.options import AUTHORS
from kns.cli.preflight_command import show
from kns.model.findings import Finding, Severity


def add_prepare(app: typer.Typer, prepare_site: Callable[[bool], Iterable[Finding]]) -> None:
    """Add the command to `app`. `prepare_site` is a parameter, because the command line does not import adapters."""

    @app.command(rich_help_panel=AUTHORS)
    def prepare(
        all_versions: Annotated[
            bool, typer.Option("--all", help="All Kubernetes versions of the site, not only the default.")
        ] = False,
    ) -> None:
        """
        Make the database with which new virtual clusters start, and wait for it.

        The scheduler does it by itself; this command does it now. Uses KUBECONFIG if it is set, else the account of
        kns. Exit status: 0 all are there, 1 one is not.
        """
        findings = []
        for finding in prepare_site(all_versions):
            findings.append(finding)
            show(finding)
        if any(finding.severity is Severity.FAULT for finding in findings):
            raise typer.Exit(1)
