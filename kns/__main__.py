"""`python -m kns`: the scheduler without arguments, the command line with them."""

import sys
from collections.abc import Iterable

from kns.model.findings import Finding


def run() -> None:
    if len(sys.argv) == 1:
        from kns.main import run as run_scheduler

        sys.exit(run_scheduler())
    from kns.cli.app import app
    from kns.cli.preflight_command import add_preflight
    from kns.cli.prepare_command import add_prepare

    add_preflight(app, _check_site)
    add_prepare(app, _prepare_site)
    app()


def _check_site() -> Iterable[Finding]:
    """Imported when asked for: the other commands need no cluster, and start without all that talks to one."""
    from kns.preflight import check_site

    return check_site()


def _prepare_site(all_versions: bool) -> Iterable[Finding]:
    """Imported when asked for, as above."""
    from kns.prepare import prepare_site

    return prepare_site(all_versions=all_versions)


if __name__ == "__main__":
    run()
