"""Sign-in by Keycloak: ask the realm until the user has signed in, and keep the tokens of a profile current."""

import typer

from kns.cli.exits import CommandError, Exit
from kns.cli.profiles import LockedError, Profile, Profiles
from kns.cli.report import escape
from kns.cli.screen import Screen
from kns.cli.surroundings import Surroundings
from kns.client import NoResponseError
from kns.client.realm import DeviceCode, Realm, RealmError, Tokens, limit_interval

SLOWER_S = 5.0  # RFC 8628, 3.5: after `slow_down`
EARLY_S = 30.0  # a token is renewed this long before its end: clocks differ, and a request takes time
_PENDING, _SLOW_DOWN = "authorization_pending", "slow_down"
_AGAIN = "run `kns login` again"
_SENTENCES = {
    "expired_token": f"nobody signed in within the time that the realm gives; {_AGAIN}",
    "access_denied": f"the sign-in was refused in the browser; {_AGAIN}",
    "invalid_client": "the realm does not know this client; ask the site's administrator which one --client must name",
    "unauthorized_client": "the realm does not let this client sign in by code; ask the site's administrator to switch "
    "on the device flow for it",
    "invalid_scope": "the realm does not let this client stay signed in; leave out --offline",
}


def sign_in(machine: Surroundings, screen: Screen, realm: Realm, *, scope: str) -> Tokens:
    """
    Show the user where to sign in, and wait for it.

    Raises:
        CommandError: the realm refuses, or nobody signs in.
        ClientError: the realm does not answer.
    """
    try:
        code = realm.begin(scope)
    except RealmError as error:
        raise _explain(error) from error
    typer.echo(escape(f"open {code.url} and enter the code {code.user_code}"), err=True)
    if screen.is_terminal and code.complete_url and machine.open_url(code.complete_url):
        screen.note("a browser has opened; check that it shows this code")
    with screen.busy("waiting for the sign-in"):
        return _await_tokens(machine, realm, code)


def _await_tokens(machine: Surroundings, realm: Realm, code: DeviceCode) -> Tokens:
    interval_s, until = code.interval_s, machine.monotonic() + code.lifetime_s
    while machine.monotonic() + interval_s <= until:
        machine.sleep(interval_s)
        try:
            return realm.redeem(code)
        except RealmError as error:
            if error.code == _SLOW_DOWN:
                interval_s = limit_interval(interval_s + SLOWER_S)
            elif error.code != _PENDING:
                raise _explain(error) from error
        except NoResponseError:
            interval_s = limit_interval(interval_s * 2)  # RFC 8628, 3.5: back off
    raise CommandError(Exit.SIGNED_OUT, _SENTENCES["expired_token"])


def _explain(error: RealmError) -> CommandError:
    return CommandError(Exit.SIGNED_OUT, _SENTENCES.get(error.code) or f"{error}; {_AGAIN}")


class StoredTokens:
    """The tokens of a profile. They are renewed when they end, and then stored in place of the old ones."""

    def __init__(self, machine: Surroundings, profiles: Profiles, name: str, profile: Profile) -> None:
        self._machine, self._profiles, self._name, self._profile = machine, profiles, name, profile
        self._tokens: Tokens | None = None

    def read(self) -> str:
        """
        An access token that is valid now.

        Raises:
            CommandError: the sign-in has ended.
            NoResponseError: the realm does not answer.
        """
        if self._tokens is None:
            self._tokens = self._load()
        if not self._is_current(self._tokens):
            self._tokens = self._renew(self._tokens)
        return self._tokens.access

    def _is_current(self, tokens: Tokens) -> bool:
        return self._machine.now().timestamp() < tokens.expires_at - EARLY_S

    def _load(self) -> Tokens:
        try:
            return Tokens.from_json(self._profiles.find_secret(self._name, self._profile) or "")
        except ValueError as error:
            raise CommandError(
                Exit.SIGNED_OUT, f"the stored sign-in of profile {self._name} is damaged; {_AGAIN}"
            ) from error

    def _renew(self, tokens: Tokens) -> Tokens:
        """
        A realm may take each refresh token once, and end the sign-in at the second time: one command at a time.

        Raises:
            CommandError: the sign-in has ended, or its profile is that of another site now.
            NoResponseError: the realm does not answer, perhaps to another command.
        """
        try:
            with self._profiles.locked():
                return self._renew_alone(tokens)
        except LockedError as error:
            raise NoResponseError("the renewal of a sign-in", error) from error

    def _renew_alone(self, tokens: Tokens) -> Tokens:
        if self._profiles.read().profiles.get(self._name) != self._profile:
            raise CommandError(
                Exit.SIGNED_OUT, f"profile {self._name} was replaced or removed meanwhile; run the command again"
            )
        stored = self._load()
        if stored.access != tokens.access and self._is_current(stored):
            return stored  # another command has renewed them meanwhile
        with self._machine.connect_realm(self._profile.issuer or "", self._profile.client_id or "") as realm:
            try:
                renewed = realm.renew(stored)
            except RealmError as error:
                raise CommandError(
                    Exit.SIGNED_OUT,
                    f"your sign-in by Keycloak has ended; run `kns login --url {self._profile.url} "
                    f"--issuer {self._profile.issuer}`",
                ) from error
        self._profiles.replace_secret(self._name, self._profile, renewed.to_json())
        return renewed
