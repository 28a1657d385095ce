"""Commands about sites and credentials: login, logout, profiles, use."""

import sys
from typing import Annotated

import typer

from kns.cli.device_login import sign_in
from kns.cli.exits import CommandError, Exit
from kns.cli.options import Output
from kns.cli.profiles import DEFAULT, Profile
from kns.cli.screen import build_table
from kns.cli.session import Session, check_url, get_session
from kns.client import ApiKey, Bearer, Credentials
from kns.client.realm import OFFLINE_SCOPE, SCOPE
from kns.client.wire import is_loopback

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
    issuer: Annotated[
        str | None,
        typer.Option(
            "--issuer", metavar="URL", help="Sign in by Keycloak: the realm, such as https://kc.example.org/realms/lab."
        ),
    ] = None,
    client_id: Annotated[
        str, typer.Option("--client", metavar="ID", help="With --issuer: the client of the realm for this.")
    ] = "kns-cli",
    offline: Annotated[
        bool, typer.Option("--offline", help="With --issuer: stay signed in after the session of the realm has ended.")
    ] = False,
) -> None:
    """
    Sign in to a site with an API key or by Keycloak, check that it works, and store it.

    An API key comes from a prompt or from standard input, because an argument would be stored in the shell's history.
    With --issuer a browser asks for your account, on this machine or any other. What is stored is in the system's
    keyring if there is one (the extra `keyring`), else in a file that only you can read.
    """
    session = get_session(ctx)
    address = check_url(
        url or session.url_option or _ask("Address of kns", session.surroundings.environ.get("KNS_URL"))
    )
    if address.startswith("http://") and not is_loopback(address):
        session.screen.warn(
            f"{address} has no TLS, so others on the way can read what you send; use https:// if you can"
        )
    if issuer is not None:
        _sign_in_by_keycloak(session, address, name, issuer, client_id, offline=offline)
        return
    user = username or _ask("User name", session.surroundings.environ.get("KNS_USERNAME"))
    profile_name = name or session.profile_option or DEFAULT
    key = _read_key()
    if not key:
        raise CommandError(Exit.USAGE, "the API key is empty")
    _check(session, address, ApiKey(user, key))
    stored = session.profiles.store(profile_name, Profile(url=address, username=user), key)
    session.screen.note(f"signed in to {address} as {user}; the key is in {_name_place(session, stored)}")


def _name_place(session: Session, stored: Profile) -> str:
    return "the system's keyring" if stored.stored_in == "keyring" else f"{session.surroundings.config_dir}"


def _sign_in_by_keycloak(
    session: Session, address: str, name: str | None, issuer: str, client_id: str, *, offline: bool
) -> None:
    with session.surroundings.connect_realm(issuer, client_id) as realm:
        tokens = sign_in(session.surroundings, session.screen, realm, scope=OFFLINE_SCOPE if offline else SCOPE)
    _check(session, address, Bearer(tokens.access))
    profile = Profile(url=address, issuer=issuer, client_id=client_id)
    stored = session.profiles.store(name or session.profile_option or DEFAULT, profile, tokens.to_json())
    session.screen.note(f"signed in to {address} by Keycloak; the tokens are in {_name_place(session, stored)}")


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
    ctx: typer.Context, name: Annotated[str | None, typer.Argument(metavar="PROFILE", show_default=False)] = None
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
         "issuer": each.issuer, "stored_in": each.stored_in}
        for name, each in sorted(config.profiles.items())
    ]  # fmt: skip
    rows = [
        ("*" if each["current"] else "", each["profile"], each["url"], each["username"] or "(by Keycloak)")
        for each in data
    ]
    session.screen_for(output).show(data, build_table(("", "PROFILE", "URL", "USER"), rows))


@sites.command()
def use(ctx: typer.Context, name: Name) -> None:
    """Make a profile the current one."""
    session = get_session(ctx)
    if name not in session.profiles.read().profiles:
        raise CommandError(Exit.NOT_FOUND, f"there is no profile {name}; `kns profiles` lists them")
    session.profiles.use(name)
