"""The operating system's groups of a user, which decide the profile sections that apply."""

import grp
import os
import pwd
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from kns.logs import get_logger
from kns.model.errors import clip

log = get_logger(__name__)

_MOST_USERS = 10_000  # whose groups are remembered
_MOST_UNKNOWN = 1000  # users that are logged; a request may name anybody
_NO_GROUPS = "no section of a group applies, and templates that ask for the groups fail"
MAX_GROUPS = 1000  # of one user; Linux allows 65 536, and a directory service that returns so many is broken


def list_groups(user: str) -> tuple[str, ...]:
    """
    Names of the user's groups, primary group first; empty for a user that the system does not know.

    The same as the command `groups`, without a process. A group without a name has its number as name.
    """
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):  # ValueError: a name with a zero byte
        return ()
    return tuple(_name(group) for group in os.getgrouplist(user, entry.pw_gid)[:MAX_GROUPS])


def _name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


class RememberedGroups:
    """
    The groups of users as `ask` lists them, and the last ones while it does not know a user whom it knew: for a
    directory service that does not answer, the system says the same as for an unknown user, and sections of groups,
    which may restrict, would not apply. Safe for use in many threads.
    """

    def __init__(self, ask: Callable[[str], Sequence[str]] = list_groups) -> None:
        self._ask = ask
        self._known: OrderedDict[str, Sequence[str]] = OrderedDict()
        self._lost: set[str] = set()  # of these, who are not known now
        self._unknown: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, user: str) -> Sequence[str]:
        groups = self._ask(user)
        with self._lock:
            if groups:
                self._remember(user, groups)
                return groups
            last = self._known.get(user, ())
            noted, most = (self._lost, _MOST_USERS) if last else (self._unknown, _MOST_UNKNOWN)
            is_new = user not in noted and len(noted) < most
            if is_new:
                noted.add(user)
        if is_new:
            consequence = "the last known groups are used" if last else _NO_GROUPS
            log.warning("groups_unknown", user=clip(user, 64), consequence=consequence)
        return last

    def _remember(self, user: str, groups: Sequence[str]) -> None:
        self._lost.discard(user)
        self._unknown.discard(user)
        self._known[user] = groups
        self._known.move_to_end(user)
        while len(self._known) > _MOST_USERS:
            oldest, _ = self._known.popitem(last=False)
            self._lost.discard(oldest)
