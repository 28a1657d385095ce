"""The operating system's groups of a user, which decide the profile sections that apply."""

import ctypes
import grp
import os
import pwd
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from kns.logs import get_logger
from kns.model.errors import UnavailableError, clip

log = get_logger(__name__)

Groups = Callable[[str], Sequence[str]]  # of a user

_MOST_USERS = 10_000  # whose groups are remembered
_MOST_UNKNOWN = 1000  # users that are logged; a request may name anybody
_LAST_GROUPS = "the last known groups are used"
_NO_GROUPS = "no section of a group applies, and templates that ask for the groups fail"
_NO_ANSWER = "requests that need the groups fail"
_MOST_WAIT_S = 3.0  # for one user's groups; who waits are workers that also answer requests from memory
_MOST_LATE = 8  # lookups that go on after that time, each in a thread; while there are so many, none begins
_LOST_S = 300.0  # later than that, a lookup may never end, and its user is looked up again
_MOST_THREADS = 64  # of all lookups, also of those that never end
_LIBRARY = ctypes.CDLL(None)  # the C library
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
    return tuple(map(_name, list_group_numbers(user, entry.pw_gid)))


def list_group_numbers(user: str, primary: int) -> Sequence[int]:
    """
    The numbers of the first `MAX_GROUPS` groups, `primary` first.

    Not by `os.getgrouplist` or `os.initgroups`: they hold the interpreter's lock while they wait for the directory
    service, so not even heartbeats would be sent, and the Launcher would kill the plugin.

    Raises:
        UnavailableError: the system cannot list them.
    """
    found, count = (ctypes.c_uint * MAX_GROUPS)(), ctypes.c_int(MAX_GROUPS)
    result = _LIBRARY.getgrouplist(os.fsencode(user), ctypes.c_uint(primary), found, ctypes.byref(count))
    if result < 0 and count.value <= MAX_GROUPS:
        raise UnavailableError("the system cannot list the groups")
    return found[: min(count.value, MAX_GROUPS)]  # the count is that of all groups if there are more


def _name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A user's groups that a thread asks for; who needs them waits until the monotonic time `until`."""

    until: float
    answer: Future[Sequence[str]] = field(default_factory=Future)


class RememberedGroups:
    """
    The groups of users as `ask` lists them, and the last ones while it does not know a user whom it knew, or does not
    answer. Otherwise sections of groups, which may restrict, would not apply: if a directory service does not answer,
    some systems say the same as for an unknown user, others wait. Safe for use in many threads.
    """

    def __init__(self, ask: Groups = list_groups) -> None:
        self._ask = ask
        self._known: OrderedDict[str, Sequence[str]] = OrderedDict()
        self._lost: set[str] = set()  # of these, who are not known now
        self._unknown: set[str] = set()
        self._lookups: dict[str, _Lookup] = {}  # by user
        self._threads = 0
        self._lock = threading.Lock()  # of all these

    def __call__(self, user: str) -> Sequence[str]:
        """
        Empty for a user whom the system does not know, and never knew.

        Raises:
            UnavailableError: the system does not answer, and the user's groups were never known.
        """
        groups = self._ask_in_time(user)
        if groups:
            return groups
        with self._lock:
            last = self._known.get(user, ())
            noted, most = (self._lost, _MOST_USERS) if last else (self._unknown, _MOST_UNKNOWN)
            is_new = user not in noted and len(noted) < most
            if is_new:
                noted.add(user)
        if is_new:
            consequence = _LAST_GROUPS if last else _NO_ANSWER if groups is None else _NO_GROUPS
            log.warning("groups_unknown", user=clip(user, 64), consequence=consequence)
        if groups is None and not last:
            raise UnavailableError(
                f"the groups of {user[:64]!r} are not known: the system's directory service does not answer; "
                "try again, or ask an administrator to run `groups USER`"
            )
        return last

    def _ask_in_time(self, user: str) -> Sequence[str] | None:
        """None if there is no answer in time. If the user's last lookup is late already, this does not wait again."""
        with self._lock:
            now = time.monotonic()
            self._lookups = {name: each for name, each in self._lookups.items() if now < each.until + _LOST_S}
            lookup = self._lookups.get(user)
            if lookup is None:
                late = sum(each.until <= now for each in self._lookups.values())
                if late >= _MOST_LATE or self._threads >= _MOST_THREADS:
                    return None
                lookup = _Lookup(now + _MOST_WAIT_S)
                threading.Thread(target=self._look_up, args=(user, lookup), name="groups", daemon=True).start()
                self._lookups[user] = lookup
                self._threads += 1
        try:
            return lookup.answer.result(max(0.0, lookup.until - time.monotonic()))
        except (TimeoutError, UnavailableError):
            return None

    def _look_up(self, user: str, lookup: _Lookup) -> None:
        """Remember the answer, which may come when nobody waits for it any more."""
        try:
            groups = self._ask(user)
        except Exception as error:  # noqa: BLE001 - for those who wait
            self._end(user, lookup)
            lookup.answer.set_exception(error)
        else:
            self._end(user, lookup, groups)
            lookup.answer.set_result(groups)

    def _end(self, user: str, lookup: _Lookup, groups: Sequence[str] = ()) -> None:
        with self._lock:
            self._threads -= 1
            if self._lookups.get(user) is not lookup:  # a later one may know better
                return
            del self._lookups[user]
            if groups:
                self._remember(user, groups)

    def _remember(self, user: str, groups: Sequence[str]) -> None:
        self._lost.discard(user)
        self._unknown.discard(user)
        self._known[user] = groups
        self._known.move_to_end(user)
        while len(self._known) > _MOST_USERS:
            oldest, _ = self._known.popitem(last=False)
            self._lost.discard(oldest)
