"""The command line: `python -m demo COMMAND`."""

import argparse
import signal
import sys
from collections.abc import Sequence

from demo import dev, environment, images, install
from demo.catalog import example_ids
from demo.errors import FAILURES, DemoError
from demo.kubectl import Kubectl
from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from demo.screen import Screen
from demo.story import Story
from demo.target import VARIABLES, Target, choose_target
from kns.client import ENDED, NoResponseError
from testbed import processes
from testbed.errors import TestbedError

INTERRUPTED = 130
_JOBS_SHOWN = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command. Returns the exit status: 0 done, 1 failed, 130 interrupted; for `nested` that of kubectl.
    """
    options = _build_parser().parse_args(arguments)
    processes.raise_interrupts()
    screen = Screen()
    try:
        return _run(options, choose_target(), screen)
    except (*FAILURES, TestbedError) as error:
        sys.stdout.flush()
        hint = "; is kns running? (`make status`)" if isinstance(error, NoResponseError) else ""
        sys.stderr.write(f"demo: {error}{hint}\n")
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        # A second Ctrl-C must not suppress the message about the first.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()
        sys.stderr.write(
            f"\ndemo: interrupted during `{options.command}`. What exists so far is kept and reused.\n"
            f"  go on:  make {'demo' if options.command == 'run' else options.command}\n"
            "  look:   make status\n"
            f"  undo:   {_undo()}\n"
        )
        return INTERRUPTED


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Install kns on a real cluster and run a job on it.",
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text, epilog=VARIABLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    add("up", "bring up the cluster with kns on it; safe to repeat")
    run = add("run", "up, then run a job from submit to complete removal")
    run.add_argument("--app", default="hello", choices=example_ids(), help="app of examples/ (hello)")
    run.add_argument("--machine", default="kns-small", help="machine of the demo's catalogue (kns-small)")
    run.add_argument("--keep", action="store_true", help="do not end the job")
    add("env", "print addresses and accounts as shell assignments")
    add("images", "build the images of kns and push them to the registry of the testbed")
    add("dev", "run the scheduler from this checkout, outside the cluster")
    add("status", "show kns, its pods and its jobs")
    nested = add("nested", "run kubectl in the virtual cluster of a job, as its administrator")
    nested.add_argument("number", type=int, metavar="NUMBER", help="number of a running job")
    nested.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="arguments of kubectl, for example `get pods -A`"
    )
    return parser


def _run(options: argparse.Namespace, target: Target, screen: Screen) -> int:
    match options.command:
        case "up":
            install.up(target, screen)
            environment.write(target, Kubectl.of(target))
            screen.text(environment.describe_next_steps(target))
        case "run":
            Story(target, screen, app=options.app, machine=options.machine, keep=options.keep).run()
        case "env":
            sys.stdout.write(environment.write(target, Kubectl.of(target)))
        case "images":
            images.provide(target, screen.step)
        case "dev":
            return dev.run(target, screen)
        case "status":
            _show_status(target, screen)
        case "nested":
            with nested_kubectl(target, options.number) as inside:
                return inside.hand_over(*options.arguments)
    return 0


def _show_status(target: Target, screen: Screen) -> None:
    kubectl = Kubectl.of(target)
    namespace = f"--namespace={NAMESPACE}"
    for arguments in (("nodes",), ("deployments,pods", namespace)):
        screen.text(f"$ kubectl get {' '.join(arguments)}", style="bold")
        screen.text(kubectl.run("get", *arguments, "--ignore-not-found") or "nothing")
    live, ended = _list_jobs(kubectl, namespace)
    screen.text(f"$ kubectl get nj {namespace}", style="bold")
    if live:
        screen.text(kubectl.run("get", "nj", *live[-_JOBS_SHOWN:], namespace, "--ignore-not-found"))
    some = f", the newest {_JOBS_SHOWN} shown" if len(live) > _JOBS_SHOWN else ""
    screen.text(f"{len(live)} live jobs{some}; {ended} records of ended jobs, not shown")


def _list_jobs(kubectl: Kubectl, namespace: str) -> tuple[list[str], int]:
    """
    The names of the records of live jobs, oldest first, and the number of records of ended jobs, which may be many.
    """
    columns = "--output=custom-columns=NAME:.metadata.name,STATUS:.status.jobStatus"
    by_age = "--sort-by=.metadata.creationTimestamp"
    text = kubectl.run("get", "nj", namespace, columns, by_age, "--no-headers", "--ignore-not-found")
    jobs = [line.partition(" ") for line in text.splitlines() if line.strip()]
    live = [name for name, _, status in jobs if status.strip() not in ENDED]
    return live, len(jobs) - len(live)


def _undo() -> str:
    try:
        is_testbed = choose_target().is_testbed
    except DemoError:
        is_testbed = True
    return "make down" if is_testbed else "end the running jobs, then `kubectl delete -k manifests/`"
