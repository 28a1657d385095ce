"""
Read the catalogue: the apps that a user may see, projects, teams; and check an AppDef against this site.
"""

from typing import Any

from kns.model.appdef.appdef import AppDef, Command, parse_appdef
from kns.model.catalog.catalog import App, User
from kns.model.catalog.free import count_fitting
from kns.model.catalog.machine import Machine
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.service.errors import InactiveAccountError, NotPermittedError
from kns.service.ports import ServicePorts


def list_apps(ports: ServicePorts, caller: User | None) -> dict[str, App]:
    """The apps that the caller may see, by id. Without a caller these are the public ones."""
    return {app_id: app for app_id, app in ports.catalog.current().apps.items() if app.is_visible_to(caller)}


def get_app(ports: ServicePorts, app_id: str, caller: User) -> App:
    """
    Raises:
        UnknownAppError: no such app, or the caller may not see it.
    """
    app = ports.catalog.current().apps.get(app_id)
    if app is None or not app.is_visible_to(caller):
        raise UnknownAppError(f"{app_id!r} is not in the catalogue")
    return app


def list_fit_machines(ports: ServicePorts, appdef: AppDef, command: Command) -> dict[str, int]:
    """The machines on which a command runs, by name, each with the most nodes that a job may have of it."""
    most = appdef.most_nodes(command)
    machines = ports.catalog.current().machines
    return {
        name: min(most, _most_nodes(machine)) if most is not None else _most_nodes(machine)
        for name, machine in machines.items()
        if machine.runs_nested_jobs and appdef.admits_machine(command, name)
    }


def _most_nodes(machine: Machine) -> int:
    return max(1, machine.mc_scale_max)


def count_free(ports: ServicePorts) -> dict[str, int | None]:
    """
    For each machine that runs nested jobs, how many more jobs of it would find room now (`kns.model.catalog.free`).
    None if that is not known, for all of them on a site that does not show it.
    """
    room = ports.room.read() if ports.room is not None else None
    machines = ports.catalog.current().machines
    return {
        name: count_fitting(room, machine) if room is not None else None
        for name, machine in machines.items()
        if machine.runs_nested_jobs
    }


def list_vaults(ports: ServicePorts, user: User) -> tuple[str, ...]:
    """The names of the user's vaults."""
    return tuple(ports.catalog.current().vaults.get(user.username, {}))


def check_appdef(ports: ServicePorts, data: dict[str, Any]) -> None:
    """
    Check an AppDef, also against the Kubernetes versions of this site.

    Raises:
        InvalidInputError: the first problem, with its key path.
    """
    supported = ports.terms.supported_versions
    for key, command in parse_appdef(data).commands.items():
        version = command.nested_kubernetes.kubernetes_version
        if version and version not in supported:
            raise InvalidInputError(
                f"commands.{key}.nested_kubernetes.kubernetes_version",
                f"{version} is not supported here; supported: {', '.join(supported)}",
            )


def list_projects(ports: ServicePorts, caller: User) -> dict[str, list[str]]:
    """
    The members of every project by `<payer>-<project>`, where the payer is that of the members' team.

    Raises:
        NotPermittedError: the caller is not a system admin.
    """
    require_admin(caller)
    members: dict[str, list[str]] = {}
    for user in ports.catalog.current().users.values():
        for project in user.projects:
            members.setdefault(f"{user.team}-{project}", []).append(user.username)
    return members


def list_team_members(ports: ServicePorts, caller: User) -> list[User]:
    """
    The other users of the caller's team.

    Raises:
        NotPermittedError: the caller is neither an admin of the team nor the payer of others.
    """
    users = ports.catalog.current().users.values()
    others = [user for user in users if user.team == caller.team and user.username != caller.username]
    if not caller.team_admin and not (others and caller.username == caller.team):
        raise NotPermittedError(f"{caller.username} does not lead a team")
    return others


def require_admin(caller: User) -> None:
    """
    Raises:
        NotPermittedError: the caller is not a system admin.
    """
    if not caller.admin:
        raise NotPermittedError(f"{caller.username} is not a system admin")


def require_active(user: User) -> None:
    """
    Raises:
        InactiveAccountError: the account may not use more resources.
    """
    if not user.active:
        raise InactiveAccountError(f"the account {user.username} is not active")
