"""The Events of the sweeper."""

from datetime import UTC, datetime

from kns.objects.event import build_orphan_event


def test_the_api_server_takes_a_message_of_any_length() -> None:
    """It refuses a longer one, and the orphan would be reported nowhere."""
    event = build_orphan_event(
        system_namespace="kns-system",
        kind="Namespace",
        name="kns-job-7",
        key="uid-1",
        reason="OrphanKept",
        message="x" * 5000,
        now=datetime(2026, 1, 5, tzinfo=UTC),
        before=None,
    )
    assert event["message"] == "x" * 1024
