"""When pods that the quota refused are tried again."""

from dataclasses import replace

import pytest

from kns.model.job.room import MOST_PAGES, Room, after_failure, after_page, look, read_free


def status(used: str, hard: str = "4", **more: str) -> dict[str, dict[str, str]]:
    return {
        "hard": {"requests.cpu": hard, **dict.fromkeys(more, "100")},
        "used": {"requests.cpu": used, **more},
    }


@pytest.mark.parametrize(
    ("before", "now", "begins"),
    [
        (status("4"), status("4"), False),
        (status("4"), status("3500m"), True),
        (status("3"), status("4"), False),
        (status("4"), status("4", hard="5"), True),
        (status("4", pods="3"), status("4", pods="2"), True),
        (status("3", pods="3"), status("4", pods="2"), True),
        (status("4"), status("4", secrets="1"), False),
        ({}, status("1"), False),
    ],
    ids=[
        "nothing changed",
        "a pod ended",
        "a pod started",
        "the quota was raised",
        "fewer pods",
        "one more, another less",
        "a new key of the quota",
        "counted for the first time",
    ],
)
def test_a_round_begins_when_there_is_more_room(
    before: dict[str, dict[str, str]], now: dict[str, dict[str, str]], begins: bool
) -> None:
    room = look(Room(read_free(before)), now, mark="m")
    assert (room.mark, room.pages_left) == (("m", MOST_PAGES) if begins else ("", 0))
    assert room.free == read_free(now)


@pytest.mark.parametrize(("used", "begins"), [("4", True), ("2100m", True), ("2", False), ("0", False)])
def test_a_new_leader_begins_a_round_only_if_pods_may_have_been_refused(used: str, begins: bool) -> None:
    """It does not know what was used before. A job that uses little costs no request."""
    assert bool(look(None, status(used), mark="m").mark) is begins


def test_nothing_is_done_while_the_host_has_not_counted() -> None:
    assert look(None, {}, mark="m") == Room({})


def test_a_round_goes_through_the_pages_and_ends() -> None:
    room = look(Room(read_free(status("4"))), status("3"), mark="m")
    second = after_page(room, "p2", mark="n")
    assert (second.mark, second.page) == ("m", "p2")
    same = look(second, status("3"), mark="n")
    assert (same.mark, same.page, same.again) == ("m", "p2", False)
    assert after_page(same, "", mark="n") == Room(room.free)


def test_a_round_has_a_most_number_of_pages() -> None:
    room = look(Room(read_free(status("4"))), status("3"), mark="m")
    pages = 0
    while room.mark and pages <= MOST_PAGES:
        pages += 1
        room = after_page(room, f"p{pages}", mark="n")
    assert pages == MOST_PAGES


def test_room_that_appears_during_a_round_gets_one_of_its_own() -> None:
    """The pods that were already tried in this round get their chance, after all others had theirs."""
    room = after_page(look(Room(read_free(status("4"))), status("3"), mark="m"), "p2", mark="n")
    room = look(room, status("2"), mark="n")
    assert (room.mark, room.page, room.again) == ("m", "p2", True)
    room = after_page(look(room, status("4"), mark="o"), "", mark="o")
    assert (room.mark, room.page, room.again, room.pages_left) == ("o", "", False, MOST_PAGES)


def test_a_virtual_cluster_that_fails_ends_the_round_soon() -> None:
    room = look(Room(read_free(status("4"))), status("3"), mark="m")
    assert after_failure(after_failure(room)) == replace(room, failures=2)
    assert after_failure(after_failure(after_failure(room))) == Room(room.free)
    assert after_page(replace(room, failures=2), "p2", mark="n").failures == 0
