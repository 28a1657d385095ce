"""
The command line of the testbed.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from testbed import cluster, commands, images, keycloak, locking, machine, parts, paths, plan, processes
from testbed.errors import TestbedError
from testbed.progress import Progress, say, warn


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command. Returns the exit code: 0 done, 1 failed, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    processes.raise_interrupts()
    try:
        return command(options)
    except TestbedError as err:
        warn(f"testbed: {err}")
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        warn("testbed: interrupted. The same command continues where it stopped; `down` removes what there is.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m testbed", description="A real one-node Kubernetes cluster.")
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands_.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    up = add("up", _up, "bring the cluster up; it may be repeated and interrupted")
    up.add_argument(
        "--taint", action="store_true", help="give the node a taint, which keeps pods without its toleration off"
    )
    down = add("down", _down, "remove the cluster; the cache of programs and images stays")
    down.add_argument("--purge", action="store_true", help="remove the cache as well")
    add("status", _status, "show the pid, address and health of each part")
    logs = add("logs", _logs, "show the end of one part's log or of all logs")
    logs.add_argument("part", nargs="?", help=", ".join(parts.BY_NAME))
    logs.add_argument("-n", type=int, default=20, help="number of lines (20)")
    keycloak_ = add("keycloak", _keycloak, "start or stop a Keycloak beside the cluster, for tests that need one")
    keycloak_.add_argument("action", choices=("up", "down"))
    for action, run, text in (
        ("stop", _stop, "stop one part; the others keep running"),
        ("start", _start, "start one part and wait until it serves"),
        ("restart", _restart, "stop one part and start it again"),
    ):
        add(action, run, text).add_argument("part", choices=[part.name for part in parts.PARTS], metavar="PART")
    add("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    add("plan", _plan, "print what `up` changes on the machine and how `down` reverts it")
    add("build", _build, "build the programs and nothing else")
    load = add("load-image", _load_image, "push the images of a Docker or OCI archive to the local registry")
    load.add_argument("archive", type=pathlib.Path)
    build = add("build-image", _build_image, "build an image from a Dockerfile and push it to the local registry")
    build.add_argument("--tag", required=True, help="full name of the image")
    build.add_argument("--file", required=True, type=pathlib.Path, help="the Dockerfile")
    build.add_argument("--context", required=True, type=pathlib.Path, help="the folder that COPY reads from")
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    return parser


def _up(options: argparse.Namespace) -> int:
    cluster.up(taint=options.taint)
    return 0


def _down(options: argparse.Namespace) -> int:
    cluster.down(purge=options.purge)
    return 0


def _status(_: argparse.Namespace) -> int:
    machine.require_root()
    rows = [("PART", "PID", "ADDRESS", "HEALTH"), *cluster.status()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("  ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3]]))
    return 0 if all(row[3] == "healthy" for row in rows[1:]) else 1


def _logs(options: argparse.Namespace) -> int:
    names = [options.part] if options.part else list(parts.BY_NAME)
    for name in names:
        log = parts.log_file(name)
        say(f"--- {log}")
        say(commands.tail(log, options.n))
    return 0


def _stop(options: argparse.Namespace) -> int:
    cluster.stop_part(options.part)
    return 0


def _start(options: argparse.Namespace) -> int:
    cluster.start_part(options.part)
    return 0


def _restart(options: argparse.Namespace) -> int:
    cluster.stop_part(options.part)
    cluster.start_part(options.part)
    return 0


def _kubeconfig(_: argparse.Namespace) -> int:
    if not paths.KUBECONFIG.exists():
        raise TestbedError(f"{paths.KUBECONFIG} does not exist; run `python3 -m testbed up` first")
    print(paths.KUBECONFIG)
    return 0


def _keycloak(options: argparse.Namespace) -> int:
    {"up": keycloak.up, "down": keycloak.down}[options.action]()
    return 0


def _plan(_: argparse.Namespace) -> int:
    say(plan.render())
    return 0


def _build(_: argparse.Namespace) -> int:
    cluster.build()
    return 0


def _load_image(options: argparse.Namespace) -> int:
    machine.require_root()
    for name in images.load_image(options.archive):
        say(f"loaded {name}")
    return 0


def _build_image(options: argparse.Namespace) -> int:
    machine.require_root()
    pairs = [item.partition("=") for item in options.build_arg]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise TestbedError(f"--build-arg {bad[0]} has no value; write KEY=VALUE")
    arguments = {name: value for name, _, value in pairs}
    with locking.exclusive(), Progress(1).step(f"image {options.tag}") as step:
        line = images.build_image(options.tag, options.file, options.context, arguments, step.tick)
        step.outcome = "done"
    say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
