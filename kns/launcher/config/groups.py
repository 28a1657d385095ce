"""The operating system's groups of a user, which decide the profile sections that apply."""

import grp
import os
import pwd

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
