"""
Orphans: how an object that may be one is described to the engine, and whether it is one. Pure: no calls, no clock.

An object is removed only if its own metadata says that kns made it, for which installation and for which record, and if
that record does not exist or says that everything of its job was removed. An object without one of the three is
reported and stays. The record is identified by its uid, because numbers and names can be used twice and uids cannot.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from kns.ports import World


class Owner(StrEnum):
    """The installation that owns an object, according to its metadata."""

    US = "us"
    OTHERS = "others"
    UNKNOWN = "unknown"


class Judgement(StrEnum):
    KEEP = "keep"
    ORPHAN = "orphan"
    UNMARKED = "unmarked"  # its record does not exist, but nothing proves that this installation made it


@dataclass(frozen=True, slots=True)
class Installation:
    """Identifies this installation: within its cluster by `namespace`, among all clusters by that namespace's `uid`."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptKind:
    """
    A kind of object that the sweeper looks for.

    `name` is the kind in Events, logs and metrics. `list_all` yields every object that may be an orphan, and `delete`
    removes one of them. `one_per_job`: every job that is not removed has one, so the share of orphans among them shows
    whether the records can be right.
    """

    name: str
    list_all: "Callable[[World, Installation], Iterable[Find]]"
    delete: "Callable[[World, Installation, Find], None]"
    one_per_job: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """
    One object that may be an orphan.

    Deletion is bound to `key` (the uid; in Keycloak the id). `number` identifies the record of an object that was made
    before its record, by the number of the job. `stays_with_record`: it stays as long as the record, even after the job
    was removed. `terminating`: its deletion was requested already.
    """

    kind: SweptKind
    name: str
    key: str
    owner: Owner
    record_uid: str | None
    number: int | None = None
    stays_with_record: bool = False
    terminating: bool = False


def judge(find: Find, *, removed: bool | None) -> Judgement:
    """`removed`: whether everything of the object's job was removed, as its record says; None without a record."""
    if find.owner is Owner.OTHERS:
        return Judgement.KEEP
    if removed is not None:
        # The record is one of this installation, so the object is, too, with or without a mark.
        return Judgement.ORPHAN if removed and not find.stays_with_record else Judgement.KEEP
    if find.owner is Owner.US and (find.record_uid is not None or find.number is not None):
        return Judgement.ORPHAN
    return Judgement.UNMARKED
