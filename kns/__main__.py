"""`python -m kns`: the scheduler without arguments, the command line with them."""

import sys


def run() -> None:
    if len(sys.argv) == 1:
        from kns.main import run as run_scheduler

        sys.exit(run_scheduler())
    from kns.cli.app import app

    app()


if __name__ == "__main__":
    run()
