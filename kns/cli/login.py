"""Commands about sites and credentials: login, logout, profiles, use."""

import sys
from typing import Annotated

import typer

from kns.cli.exits import CommandError, Exit
from kns.cli.options import Output
from kns.cli.profiles import DEFAULT, Profile
from kns.cli.screen import build_table
from kns.cli.session import Session, check_url, get_session
from kns.client import ApiKey, Credentials

Name = Annotated[str, typer.Argument(metavar="PROFILE", help="Name of the profile.")]

sites = typer.Typer()


@sites.command()
def login(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of kns, without /jarvice.", show_default=False)
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", "-u", help="Your user name.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the profile, for several sites.")] = None,
) -> None:
    """
    Sign in to a site with an API key, check it, and store it.

    The key comes from a prompt or from standard input, because an argument would be stored in the shell's history. It
    is stored in the system's keyring if there is one (the extra `keyring`), else in a file that only you can read.
    """
    session = get_session(ctx)
    address = check_url(
        url or session.url_option or _ask("Address of kns", session.surroundings.environ.get("KNS_URL"))
    )
    user = username or _ask("User name", session.surroundings.environ.get("KNS_USERNAME"))
    profile_name = name or session.profile_option or DEFAULT
    key = _read_key()
    if not key:
        raise CommandError(Exit.USAGE, "the API key is empty")
    _check(session, address, ApiKey(user, key))
    stored = session.profiles.store(profile_name, Profile(url=address, username=user), key)
    where = "the system's keyring" if stored.stored_in == "keyring" else f"{session.surroundings.config_dir}"
    session.screen.note(f"signed in to {address} as {user}; the key is in {where}")


def _check(session: Session, url: str, credentials: Credentials) -> None:
    with session.surroundings.connect(url, credentials) as client:
        client.jobs()


def _ask(what: str, default: str | None) -> str:
    if not sys.stdin.isatty():
        if default:
            return default
        raise CommandError(Exit.USAGE, f"{what.lower()} is missing; see `kns login --help`")
    return str(typer.prompt(what, default=default, err=True))


def _read_key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


@sites.command()
def logout(
    ctx: typer.Context, name: Annotated[str | None, typer.Argument(metavar="[PROFILE]", show_default=False)] = None
) -> None:
    """Forget the credentials of a profile; without a name, those of the current one."""
    session = get_session(ctx)
    chosen = name or session.profile_name
    if not session.profiles.remove(chosen):
        raise CommandError(Exit.NOT_FOUND, f"there is no profile {chosen}; `kns profiles` lists them")
    session.screen.note(f"forgot {chosen}")


@sites.command()
def profiles(ctx: typer.Context, output: Output = None) -> None:
    """List the sites that you are signed in to. The current one has a star."""
    session = get_session(ctx)
    config = session.profiles.read()
    data = [
        {"profile": name, "current": name == config.current, "url": each.url, "username": each.username,
         "stored_in": each.stored_in}
        for name, each in sorted(config.profiles.items())
    ]  # fmt: skip
    rows = [("*" if each["current"] else "", each["profile"], each["url"], each["username"]) for each in data]
    session.screen_for(output).show(data, build_table(("", "PROFILE", "URL", "USER"), rows))


@sites.command()
def use(ctx: typer.Context, name: Name) -> None:
    """Make a profile the current one."""
    session = get_session(ctx)
    if name not in session.profiles.read().profiles:
        raise CommandError(Exit.NOT_FOUND, f"there is no profile {name}; `kns profiles` lists them")
    session.profiles.use(name)
