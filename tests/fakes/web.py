"""In-memory parts of the page: the keys of its sessions, and a realm to sign in to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from kns.model.errors import RefusedError


@dataclass
class StaticKeys:
    """The port `SessionKeys`; a test may replace the keys, or set a fault."""

    keys: tuple[str, ...] = ("k" * 43,)
    fault: Exception | None = None

    def read(self) -> tuple[str, ...]:
        if self.fault is not None:
            raise self.fault
        return self.keys


@dataclass
class FakeRealm:
    """
    The port `SignInProvider`. `codes` has a token for each code with its verifier and address; each works once.
    `answer` is called before each answer, and may wait.
    """

    url: str = "https://realm.example.org/auth"
    codes: dict[tuple[str, str, str], str] = field(default_factory=dict)
    fault: Exception | None = None
    answer: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)  # the codes that were to be redeemed

    def build_url(self, *, redirect_url: str, state: str, verifier: str) -> str:
        return f"{self.url}?{urlencode({'redirect_uri': redirect_url, 'state': state, 'challenge': verifier[::-1]})}"

    def build_sign_out_url(self, *, redirect_url: str) -> str:
        return f"{self.url}/logout?{urlencode({'redirect_uri': redirect_url})}"

    def redeem(self, code: str, *, redirect_url: str, verifier: str) -> str:
        self.asked.append(code)
        self.answer()
        if self.fault is not None:
            raise self.fault
        try:
            return self.codes.pop((code, redirect_url, verifier))
        except KeyError:
            raise RefusedError("Keycloak refuses the code: invalid_grant") from None
