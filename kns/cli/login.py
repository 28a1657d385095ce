"""Commands about sites and credentials: login, logout, profiles, use."""

import sys
from http import HTTPStatus
from typing import Annotated, Any

import typer

from kns.cli.device_login import sign_in
from kns.cli.exits import CommandError, Exit
from kns.cli.options import Output
from kns.cli.profiles import DEFAULT, Profile
from kns.cli.screen import Format, build_table
from kns.cli.session import Session, check_url, get_session
from kns.client import ApiKey, Bearer, ClientError, Credentials, ResponseError
from kns.client.realm import OFFLINE_SCOPE, SCOPE, Tokens
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
    output: Output = None,
) -> None:
    """
    Sign in to a site with an API key or by Keycloak, check that it works, and store it.

    An API key comes from a prompt or from standard input, because an argument would be stored in the shell's history.
    With --issuer a browser asks for your account, on this machine or any other. What is stored is in the system's
    keyring if there is one (the extra `keyring`), else in a file that only you can read.
    """
    session = get_session(ctx)
    address = check_url(url or session.url_option or _ask("Address of kns", session.variable("KNS_URL")))
    if address.startswith("http://") and not is_loopback(address):
        session.screen.warn(
            f"{address} has no TLS, so others on the way can read what you send; use https:// if you can"
        )
    profile_name = name or session.profile_option or DEFAULT
    if issuer is not None:
        stored = _sign_in_by_keycloak(session, address, profile_name, issuer, client_id, offline=offline)
    else:
        stored = _sign_in_by_key(session, address, profile_name, username)
    session.screen_for(output).record(_describe(profile_name, stored, is_current=True))


def _sign_in_by_key(session: Session, address: str, name: str, username: str | None) -> Profile:
    user = username or _ask("User name", session.variable("KNS_USERNAME"))
    key = _read_key()
    if not key:
        raise CommandError(Exit.USAGE, "the API key is empty")
    _check(session, address, ApiKey(user, key))
    stored = session.profiles.store(name, Profile(url=address, username=user), key)
    session.screen.note(f"signed in to {address} as {user}; the key is in {_name_place(session, stored)}")
    return stored


def _name_place(session: Session, stored: Profile) -> str:
    return "the system's keyring" if stored.stored_in == "keyring" else f"{session.surroundings.config_dir}"


def _sign_in_by_keycloak(
    session: Session, address: str, name: str, issuer: str, client_id: str, *, offline: bool
) -> Profile:
    with session.surroundings.connect_realm(issuer, client_id) as realm:
        tokens = sign_in(session.surroundings, session.screen, realm, scope=OFFLINE_SCOPE if offline else SCOPE)
    try:
        _check(session, address, Bearer(tokens.access))
    except ResponseError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        raise CommandError(
            Exit.SIGNED_OUT,
            f"you signed in to Keycloak, but {address} does not accept it: your account there is missing or not "
            f"active, or the realm's client {client_id} is not set up for kns; ask the site's administrator",
        ) from error
    profile = Profile(url=address, issuer=issuer, client_id=client_id)
    stored = session.profiles.store(name, profile, tokens.to_json())
    session.screen.note(f"signed in to {address} by Keycloak; the tokens are in {_name_place(session, stored)}")
    return stored


def _check(session: Session, url: str, credentials: Credentials) -> None:
    with session.surroundings.connect(url, credentials) as client:
        client.list_jobs()


def _ask(what: str, default: str | None) -> str:
    if not sys.stdin.isatty():
        if default:
            return default
        raise CommandError(Exit.USAGE, f"{what.lower()} is missing; see `kns login --help`")
    return str(typer.prompt(what, default=default, err=True))


def _read_key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True)).strip()
    try:
        key = sys.stdin.readline().strip()
        key.encode()  # some locales read any bytes
    except UnicodeError as error:
        raise CommandError(Exit.USAGE, "the API key is not in UTF-8") from error
    return key


@sites.command()
def logout(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="PROFILE", show_default=False)] = None,
    output: Output = None,
) -> None:
    """
    Forget the credentials of a profile; without a name, those of the current one.

    A sign-in by Keycloak also ends in the realm, so that nobody who has copied its tokens can renew them.
    """
    session = get_session(ctx)
    chosen = name or session.profile_name
    found = session.profiles.read().profiles.get(chosen)
    if found is None:
        raise CommandError(Exit.NOT_FOUND, f"there is no profile {chosen}; `kns profiles` lists them")
    if found.issuer is not None:
        _end_in_realm(session, chosen, found)
    session.profiles.remove(chosen)
    session.screen.note(f"forgot {chosen}")
    session.screen_for(output).record({"profile": chosen, "removed": True})


def _end_in_realm(session: Session, name: str, profile: Profile) -> None:
    """What fails here must not keep the tokens on this machine."""
    try:
        tokens = Tokens.from_json(session.profiles.find_secret(name, profile) or "")
        with session.surroundings.connect_realm(profile.issuer or "", profile.client_id or "") as realm:
            realm.revoke(tokens)
    except (ClientError, CommandError, ValueError) as error:
        session.screen.warn(f"the sign-in may go on in the realm, because it was not ended there: {error}")


@sites.command()
def profiles(ctx: typer.Context, output: Output = None) -> None:
    """List the sites that you are signed in to. The current one has a star."""
    session = get_session(ctx)
    config = session.profiles.read()
    data = [_describe(name, each, is_current=name == config.current) for name, each in sorted(config.profiles.items())]
    rows = [
        ("*" if each["current"] else "", each["profile"], each["url"], each["username"] or "(by Keycloak)")
        for each in data
    ]
    screen = session.screen_for(output)
    if not data and screen.output is Format.TABLE:
        screen.note("you are signed in to no site; `kns login` signs in")
        return
    screen.show(data, build_table(("", "PROFILE", "URL", "USER"), rows))


def _describe(name: str, profile: Profile, *, is_current: bool) -> dict[str, Any]:
    return {
        "profile": name,
        "current": is_current,
        "url": profile.url,
        "username": profile.username,
        "issuer": profile.issuer,
        "stored_in": profile.stored_in,
    }


@sites.command()
def use(ctx: typer.Context, name: Name, output: Output = None) -> None:
    """Make a profile the current one."""
    session = get_session(ctx)
    found = session.profiles.read().profiles.get(name)
    if found is None:
        raise CommandError(Exit.NOT_FOUND, f"there is no profile {name}; `kns profiles` lists them")
    session.profiles.use(name)
    session.screen_for(output).record(_describe(name, found, is_current=True))
