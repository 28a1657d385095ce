"""
The options that every command shares, and what follows from them: the site, the credentials, the client.

An option wins over a variable, and a variable over the profile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import typer

from kns.cli.device_login import StoredTokens
from kns.cli.exits import CommandError, Exit
from kns.cli.profiles import Profile, Profiles
from kns.cli.screen import Format, Screen
from kns.cli.surroundings import Surroundings
from kns.client import ApiKey, Bearer, Client, Credentials, Renewed
from kns.client.wire import is_address


@dataclass(frozen=True)
class Session:
    """One run of the command line."""

    surroundings: Surroundings
    screen: Screen
    profile_option: str | None = None
    url_option: str | None = None

    def screen_for(self, output: Format | None) -> Screen:
        """The screen, with the output format of the command if it was given there."""
        return self.screen if output is None else self.screen.with_output(output)

    @cached_property
    def profiles(self) -> Profiles:
        machine = self.surroundings
        return Profiles(machine.config_dir, machine.find_keyring(), sleep=machine.sleep)

    @cached_property
    def profile_name(self) -> str:
        return self.profile_option or self.variable("KNS_PROFILE") or self.profiles.read().current

    @cached_property
    def profile(self) -> Profile | None:
        """
        Raises:
            CommandError: a profile was asked for and does not exist.
        """
        found = self.profiles.read().profiles.get(self.profile_name)
        if found is None and (self.profile_option or self.variable("KNS_PROFILE")):
            raise CommandError(
                Exit.SIGNED_OUT,
                f"there is no profile {self.profile_name}; `kns profiles` lists them, `kns login` adds one",
            )
        return found

    @cached_property
    def url(self) -> str:
        """
        Raises:
            CommandError: no site is known.
        """
        url = self.url_option or self.variable("KNS_URL") or (self.profile.url if self.profile else None)
        if url is None:
            raise CommandError(Exit.SIGNED_OUT, "which kns? run `kns login --url https://...`, or set KNS_URL")
        return check_url(url)

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """A client with the user's credentials."""
        with self.surroundings.connect(self.url, self.find_credentials()) as client:
            yield client

    def find_credentials(self) -> Credentials:
        """
        The credentials for the site.

        Raises:
            CommandError: the user is not signed in.
        """
        token = self.variable("KNS_TOKEN")
        if token:
            return Bearer(token)
        username, apikey = self.variable("KNS_USERNAME"), self.variable("KNS_APIKEY")
        if username and apikey:
            return ApiKey(username, apikey)
        profile = self.profile
        # A stored secret is sent only to the site that it was stored for.
        if profile is not None and check_url(profile.url) == self.url:
            secret = self.profiles.find_secret(self.profile_name, profile)
            if secret is not None and profile.issuer is not None:
                return Renewed(StoredTokens(self.surroundings, self.profiles, self.profile_name, profile).read)
            if secret is not None:
                return ApiKey(profile.username, secret) if profile.username else Bearer(secret)
        raise CommandError(
            Exit.SIGNED_OUT,
            f"not signed in to {self.url}; run `kns login --url {self.url}`, or set KNS_USERNAME and KNS_APIKEY",
        )

    def variable(self, name: str) -> str | None:
        """
        A variable of the environment; None if it is absent or empty.

        Raises:
            CommandError: it has a character that no header and no address can have.
        """
        text = self.surroundings.environ.get(name) or None
        if text is not None and not text.isprintable():
            raise CommandError(Exit.USAGE, f"{name} is not in UTF-8, or has a line break or control character in it")
        return text


def check_url(url: str) -> str:
    """
    The address without a final `/`.

    Raises:
        CommandError: it is no address of a web server.
    """
    if not is_address(url):
        raise CommandError(Exit.USAGE, f"{url!r} is not an address; write it like https://kns.example.org")
    return url.rstrip("/")


def get_session(ctx: typer.Context) -> Session:
    session = ctx.find_object(Session)
    assert session is not None  # noqa: S101 - the callback of the app has set it
    return session


def find_screen(ctx: typer.Context, output: Format | None) -> Screen:
    """The screen of a command that needs no site, also if it is part of another program."""
    session = ctx.find_object(Session)
    return Screen(output or Format.TABLE) if session is None else session.screen_for(output)


def open_session(
    ctx: typer.Context,
    *,
    profile: str | None,
    url: str | None,
    output: Format | None,
    color: bool,
    quiet: bool,
) -> Session:
    """The session of this run. Tests pass their surroundings as the context's object."""
    surroundings = ctx.obj if isinstance(ctx.obj, Surroundings) else Surroundings()
    given = surroundings.environ.get("KNS_OUTPUT") or Format.TABLE
    if output is None and given not in set(Format):
        raise CommandError(Exit.USAGE, f"KNS_OUTPUT is {given!r}; it must be one of {', '.join(Format)}")
    plain = not color or bool(surroundings.environ.get("NO_COLOR"))
    screen = Screen(output or Format(given), color=False if plain else None, quiet=quiet)
    return Session(surroundings, screen, profile, url)
