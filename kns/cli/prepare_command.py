"""`kns prepare`: make the prepared states by hand, before the first job needs them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import typer

from kns.cli.options import AUTHORS, Output
from kns.cli.preflight_command import report
from kns.cli.screen import Screen
from kns.cli.session import find_screen
from kns.model.findings import Finding


def add_prepare(app: typer.Typer, prepare_site: Callable[[bool], Iterable[Finding]]) -> None:
    """Add the command to `app`. `prepare_site` is a parameter, because the command line does not import adapters."""

    @app.command(rich_help_panel=AUTHORS)
    def prepare(
        ctx: typer.Context,
        all_versions: Annotated[
            bool, typer.Option("--all", help="All Kubernetes versions of the site, not only the default.")
        ] = False,
        output: Output = None,
    ) -> None:
        """
        Make the database with which new virtual clusters start, and wait for it.

        The scheduler does it by itself; this command does it now. Uses KUBECONFIG if it is set, else the account of
        kns. Exit status: 0 all are there, 1 one is not.
        """
        report(ctx, output, _show_work(find_screen(ctx, output), prepare_site(all_versions)))


def _show_work(screen: Screen, found: Iterable[Finding]) -> Iterator[Finding]:
    """The same findings. While the next one is awaited, the terminal says so."""
    findings = iter(found)
    while True:
        with screen.busy("making the database of new virtual clusters, about half a minute for each version"):
            finding = next(findings, None)
        if finding is None:
            return
        yield finding
