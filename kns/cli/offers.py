"""Commands about what a site offers: apps, app, machines."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from kns.cli.exits import CommandError, Exit
from kns.cli.options import Output
from kns.cli.screen import Format, build_pairs, build_table
from kns.cli.session import get_session
from kns.client import Client
from kns.model.catalog.machine import Machine

_SHORT = 72  # characters of a description in a list

offers = typer.Typer()


@offers.command()
def apps(
    ctx: typer.Context,
    search: Annotated[str, typer.Argument(metavar="TEXT", help="Only apps with this text in them.")] = "",
    output: Output = None,
) -> None:
    """List the apps that you may run."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = {app_id: app for app_id, app in sorted(client.apps().items()) if _has_text(app, search)}
    rows = [
        (app_id, app["data"]["name"], ", ".join(app["data"].get("classifications", [])), _shorten(app))
        for app_id, app in found.items()
    ]
    if not found and screen.output is Format.TABLE:
        screen.note(
            f"no app has {search!r} in its text; `kns apps` lists all"
            if search
            else "this site has no apps for you yet"
        )
        return
    screen.show(
        [_app_data(app_id, app) for app_id, app in found.items()], build_table(_APP_COLUMNS, rows, wraps="DESCRIPTION")
    )


_APP_COLUMNS = ("APP", "NAME", "CLASS", "DESCRIPTION")


def _has_text(app: Mapping[str, Any], text: str) -> bool:
    data = app["data"]
    words = (app["id"], data["name"], data["description"], *data.get("classifications", []))
    return any(text.lower() in str(word).lower() for word in words)


def _shorten(app: Mapping[str, Any]) -> str:
    text = " ".join(str(app["data"]["description"]).split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _app_data(app_id: str, app: Mapping[str, Any]) -> dict[str, Any]:
    data = app["data"]
    return {
        "app": app_id,
        "name": data["name"],
        "description": data["description"],
        "classifications": data.get("classifications", []),
        "commands": list(data["commands"]),
    }


@offers.command("app")
def show_app(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="APP", help="Id of the app.")],
    output: Output = None,
) -> None:
    """Show one app: its commands, their parameters, and the machines that fit; the first one is the default."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        app = find_app(client, name)
        fit = {command: list_fit_machines(client, app, command) for command in app["data"]["commands"]}
    if screen.output is not Format.TABLE:
        screen.dump({**_app_data(name, app), "parameters": _parameters_of(app), "machines": fit})
        return
    data = app["data"]
    screen.draw(build_pairs({"App": name, "Name": data["name"], "Author": data["author"]}))
    screen.draw(str(data["description"]))
    for key, command in data["commands"].items():
        screen.draw("")
        machines = ", ".join(fit[key]) or "none of this site"
        screen.draw(build_pairs({"Command": key, "About": command["description"], "Machines": machines}))
        rows = list(_parameter_rows(command.get("parameters") or {}))
        if rows:
            columns = ("PARAMETER", "TYPE", "NEEDED", "DEFAULT", "ALLOWED", "ABOUT")
            screen.draw(build_table(columns, rows, wraps="ABOUT"))


def _parameters_of(app: Mapping[str, Any]) -> dict[str, Any]:
    return {key: command.get("parameters") or {} for key, command in app["data"]["commands"].items()}


def _parameter_rows(parameters: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for key, parameter in parameters.items():
        kind = str(parameter.get("type") or "STR")
        if kind.upper() == "CONST":
            continue  # the author's own; nobody can give it
        about = parameter.get("description") or parameter.get("name") or ""
        needed = " ".join(filter(None, ("yes" if parameter.get("required") else "", _describe_condition(parameter))))
        yield key, kind, needed, parameter.get("value"), _describe_bounds(parameter), about


def _describe_condition(parameter: Mapping[str, Any]) -> str:
    """
    >>> _describe_condition({"if": ["gpu"]}), _describe_condition({"ifnot": "gpu"}), _describe_condition({})
    ('if gpu', 'if not gpu', '')
    """
    parts = []
    for key, words in (("if", "if"), ("ifnot", "if not")):
        names = parameter.get(key) or []
        names = [names] if isinstance(names, str) else names
        parts += [f"{words} {name}" for name in names]
    return ", ".join(parts)


def _describe_bounds(parameter: Mapping[str, Any]) -> str:
    """
    >>> _describe_bounds({"min": 1, "max": 8}), _describe_bounds({"values": ["a", "b"]}), _describe_bounds({"min": 0})
    ('1 to 8', 'a, b', 'at least 0')
    """
    if parameter.get("values"):
        return ", ".join(map(str, parameter["values"]))
    low, high = parameter.get("min"), parameter.get("max")
    step = f", step {parameter['step']}" if parameter.get("step") else ""
    if low not in (None, "") and high not in (None, ""):
        return f"{low} to {high}{step}"
    if low not in (None, ""):
        return f"at least {low}{step}"
    return f"at most {high}{step}" if high not in (None, "") else step.removeprefix(", ")


@offers.command()
def machines(ctx: typer.Context, output: Output = None) -> None:
    """List the machines that jobs can run on, and if the site shows it, how many more jobs of each find room now."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = list_machines(client)
        free = client.free() if found else {}
    if not found and screen.output is Format.TABLE:
        screen.note("this site has no machines for jobs yet")
        return
    data = [
        {"machine": each.mc_name, "cores": each.mc_cores, "memory_gib": each.mc_ram, "gpus": each.mc_gpus,
         "most_nodes": max(1, each.mc_scale_max), "free": free.get(each.mc_name), "description": each.mc_description}
        for each in found
    ]  # fmt: skip
    columns = {"machine": "MACHINE", "cores": "CORES", "memory_gib": "GIB", "gpus": "GPUS", "most_nodes": "NODES"}
    if any(count is not None for count in free.values()):
        columns["free"] = "FREE"
    columns["description"] = "ABOUT"
    rows = [tuple(_show(key, each[key]) for key in columns) for each in data]
    screen.show(data, build_table(tuple(columns.values()), rows, wraps="ABOUT"))


def _show(key: str, value: object) -> object:
    return value or None if key == "gpus" else value


def list_machines(client: Client) -> list[Machine]:
    """
    The machines that run nested jobs, in the order of the catalogue. One that this release cannot read is left out.
    """
    found = []
    for data in client.machines().values():
        try:
            machine = Machine.model_validate(data)
        except ValidationError:
            continue
        if machine.runs_nested_jobs:
            found.append(machine)
    return found


def find_app(client: Client, name: str) -> dict[str, Any]:
    """
    Raises:
        CommandError: there is no such app, or the user may not run it.
    """
    found = client.apps(name)
    if name not in found:
        raise CommandError(Exit.NOT_FOUND, f"there is no app {name}, or you may not run it; `kns apps` lists them")
    return found[name]


def list_fit_machines(client: Client, app: Mapping[str, Any], command: str | None) -> list[str]:
    """The names of the machines that a command may run on, the default first. Without a command, those of the only."""
    data = app["data"]
    key = command if command is not None else next(iter(data["commands"]))
    chosen = data["commands"].get(key) or {}
    patterns = chosen["machines"] if chosen.get("machines") is not None else data.get("machines", [])
    return [
        each.mc_name
        for each in list_machines(client)
        if any(fnmatchcase(each.mc_name, pattern) for pattern in patterns)
    ]
