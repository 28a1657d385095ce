"""Tokens and outputs as Secrets owned by their record."""

import base64
import gzip
import random
import string
from dataclasses import replace
from typing import Any

import pytest

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, KubeClient
from kns.adapters.kube.owned import KubeOutputs, KubeTokens, pack_log
from kns.adapters.kube.throttle import Throttle
from kns.model.errors import UnavailableError
from kns.model.job.output import CUT, MAX_LINES, JobOutput
from kns.model.job.tokens import TOKEN_LENGTHS
from tests.adapters.api_server import ApiServer
from tests.adapters.faulty_server import Hang, Meanwhile, Reset
from tests.builders import a_job
from tests.fakes.stores import FakeClock

JOB = a_job().build()
SECRET_LIMIT_BYTES = 1024 * 1024  # what Kubernetes lets a Secret hold


@pytest.fixture
def outputs(client: KubeClient) -> KubeOutputs:
    return KubeOutputs(client, namespace="kns", throttle=Throttle(1000, burst=1000, clock=FakeClock()))


@pytest.fixture
def tokens(client: KubeClient) -> KubeTokens:
    return KubeTokens(client, namespace="kns")


def secret(server: ApiServer, name: str) -> dict[str, Any]:
    found = server.find("/api/v1", "secrets", "kns", name)
    assert found is not None
    return found


def test_a_secret_belongs_to_its_record(server: ApiServer, outputs: KubeOutputs, tokens: KubeTokens) -> None:
    """It is deleted together with the record."""
    outputs.write(JOB, JobOutput(log="a"))
    tokens.ensure(JOB)
    owner = {"apiVersion": "kns.io/v1alpha1", "kind": "NestedJob", "name": "kns-job-7", "uid": JOB.uid}
    for name in ("kns-job-7-output", "kns-job-7-tokens"):
        meta = secret(server, name)["metadata"]
        assert meta["ownerReferences"] == [owner]
        assert meta["labels"] == {"app.kubernetes.io/managed-by": "kns", "kns.io/job": "7"}


def test_the_first_output_is_made_the_next_replaces_it(server: ApiServer, outputs: KubeOutputs) -> None:
    """Each with one request."""
    outputs.write(JOB, JobOutput(log="a"))
    outputs.write(JOB, JobOutput(log="a\nb"))
    assert [seen.method for seen in server.seen] == ["POST", "PUT"]
    assert outputs.read(JOB).log == "a\nb"


def test_the_output_of_an_earlier_process_is_replaced(
    server: ApiServer, outputs: KubeOutputs, clock: FakeClock
) -> None:
    outputs.write(JOB, JobOutput(log="a"))
    server.seen.clear()
    another = KubeOutputs(outputs._client, namespace="kns", throttle=Throttle(1000, burst=1000, clock=clock))
    another.write(JOB, JobOutput(log="b"))
    assert [seen.method for seen in server.seen] == ["POST", "PUT"]
    assert outputs.read(JOB).log == "b"


def test_an_output_without_an_owner_is_readable(server: ApiServer, outputs: KubeOutputs) -> None:
    """For example one that was restored from a backup together with its record, which has a new uid."""
    outputs.write(JOB, JobOutput(log="a"))
    del secret(server, "kns-job-7-output")["metadata"]["ownerReferences"]
    assert outputs.read(replace(JOB, uid="another")).log == "a"


def test_an_output_that_was_deleted_by_hand_is_made_again(server: ApiServer, outputs: KubeOutputs) -> None:
    outputs.write(JOB, JobOutput(log="a"))
    server.drop("/api/v1", "secrets", "kns", "kns-job-7-output")
    outputs.write(JOB, JobOutput(log="b"))
    assert outputs.read(JOB).log == "b"


def test_a_poll_is_answered_from_the_hosts_memory_and_nothing_else_is(
    server: ApiServer, outputs: KubeOutputs, tokens: KubeTokens
) -> None:
    outputs.write(JOB, JobOutput(log="a"))
    assert outputs.read(JOB, recent=True).log == "a"
    assert server.seen[-1].query == {"resourceVersion": "0"}
    for read in (lambda: outputs.read(JOB), lambda: tokens.read(JOB.record)):
        read()
        assert server.seen[-1].query == {}


def test_outputs_are_written_at_the_rate_of_all_writes(client: KubeClient) -> None:
    clock, waits = FakeClock(), list[float]()
    throttle = Throttle(1, burst=1, clock=clock, sleep=waits.append)
    outputs = KubeOutputs(client, namespace="kns", throttle=throttle)
    for text in ("a", "a", "b"):
        outputs.write(JOB, JobOutput(log=text))
    outputs.read(JOB)
    assert waits == [1.0]


def test_the_same_output_costs_no_call(server: ApiServer, outputs: KubeOutputs) -> None:
    outputs.write(JOB, JobOutput(log="a"))
    before = len(server.seen)
    outputs.write(JOB, JobOutput(log="a"))
    assert len(server.seen) == before


def test_an_output_that_was_not_stored_is_tried_again(server: ApiServer, outputs: KubeOutputs) -> None:
    server.script("POST", "/secrets", Reset())
    with pytest.raises(Exception, match="no answer"):
        outputs.write(JOB, JobOutput(log="a"))
    outputs.write(JOB, JobOutput(log="a"))
    assert outputs.read(JOB).log == "a"


def test_half_a_surrogate_pair_does_not_keep_an_output_from_being_stored(outputs: KubeOutputs) -> None:
    """The JSON of an app's termination message may contain a lone surrogate."""
    outputs.write(JOB, JobOutput(head="h\ud800", log="l\ud800"))
    assert outputs.read(JOB) == JobOutput(head="h?", log="l?")


@pytest.mark.proves(
    "output",
    "The last 10000 lines of output are kept, and fewer if the log exceeds 2 MiB or does not compress, because "
    "many may read it at the same time; if something was cut, the first line says so",
)
def test_a_huge_log_is_cut_to_fit_and_keeps_its_end(server: ApiServer, outputs: KubeOutputs) -> None:
    """Random text, which compresses to three quarters at best."""
    rng = random.Random(7)
    lines = ["".join(rng.choices(string.printable[:64], k=400)) for _ in range(6_000)]
    outputs.write(JOB, JobOutput(head="head", log="\n".join(lines)))
    stored = secret(server, "kns-job-7-output")
    assert sum(len(value) for value in stored["data"].values()) < SECRET_LIMIT_BYTES - 50_000
    kept = outputs.read(JOB).lines()
    assert (kept[0], kept[1]) == (CUT, "head")
    assert kept[2:] == lines[-len(kept) + 2 :]
    assert len(kept) > 1_000


def test_a_log_is_cut_at_newlines_only() -> None:
    text = "a\rb\fc\u2028d\n" * MAX_LINES
    assert gzip.decompress(pack_log(text)).decode() + "\n" == text


@pytest.mark.proves(
    "output",
    "The last 10000 lines of output are kept, and fewer if the log exceeds 2 MiB or does not compress, because "
    "many may read it at the same time; if something was cut, the first line says so",
)
def test_a_log_that_compresses_is_kept_up_to_two_mebibytes() -> None:
    """A reader has the decompressed log in memory, however small the stored one is."""
    text = "\n".join(["the same line again"] * 9_000)
    assert gzip.decompress(pack_log(text)).decode() == text
    kept = gzip.decompress(pack_log("\n".join(["x" * 800] * 9_000)))
    assert 1024 * 1024 < len(kept) <= 2 * 1024 * 1024
    assert kept.startswith(CUT.encode() + b"\nxxx")


@pytest.mark.parametrize("before", ["", "first\n"])
def test_a_line_that_fits_nowhere_is_left_out(before: str) -> None:
    line = "".join(random.Random(7).choices(string.printable[:64], k=1_200_000))
    assert gzip.decompress(pack_log(before + line)).decode() == CUT


@pytest.mark.proves(
    "output",
    "The last 10000 lines of output are kept, and fewer if the log exceeds 2 MiB or does not compress, because "
    "many may read it at the same time; if something was cut, the first line says so",
)
@pytest.mark.parametrize("again", [False, True], ids=["stored once", "read and stored again"])
def test_a_long_log_says_in_its_first_line_that_it_was_cut(outputs: KubeOutputs, again: bool) -> None:
    output = JobOutput(log="".join(f"{number}\n" for number in range(MAX_LINES + 5)))
    outputs.write(JOB, output)
    if again:
        outputs.write(JOB, replace(outputs.read(JOB), help="a page"))
    for end, last in (("", [str(MAX_LINES + 3), str(MAX_LINES + 4)]), ("the end", [str(MAX_LINES + 4), "the end"])):
        lines = outputs.read(JOB).lines(end=end)
        assert (lines[0], len(lines)) == (CUT, MAX_LINES)
        assert lines.count(CUT) == 1
        assert lines[-2:] == last


@pytest.mark.proves("wire", "Timeouts of host calls keep an answer within 20 s, and a probe within 3 s")
def test_what_an_answer_waits_for_is_not_waited_for_long(
    server: ApiServer, outputs: KubeOutputs, tokens: KubeTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info` reads both, one after the other, and has to answer within 20 s."""
    assert 2 * (ANSWER_TIMEOUT_S + CONNECT_TIMEOUT_S) <= 20
    monkeypatch.setattr("kns.adapters.kube.owned.ANSWER_TIMEOUT_S", 0.05)
    for name, read in (("-output", lambda: outputs.read(JOB)), ("-tokens", lambda: tokens.read(JOB.record))):
        server.script("GET", name, Hang())
        with pytest.raises(UnavailableError, match="no answer"):
            read()


def test_packing_is_stable() -> None:
    """The header of gzip has no time, so equal logs have equal bytes a second later, too."""
    assert pack_log("a\nb")[4:8] == bytes(4)


def test_tokens_are_made_once(client: KubeClient, tokens: KubeTokens) -> None:
    """Also for another replica."""
    made = tokens.ensure(JOB)
    assert tokens.ensure(JOB) == made
    assert KubeTokens(client, namespace="kns").ensure(JOB) == made
    assert tokens.read(JOB.record) == made
    assert len(made.password) == 16
    assert {length: len(token) for length, token in made.random.items()} == {n: n for n in TOKEN_LENGTHS}


def test_tokens_of_an_earlier_record_of_that_name_are_waited_out(server: ApiServer, tokens: KubeTokens) -> None:
    """Kubernetes deletes them some time after that record. The new job would lose the password that its app got."""
    earlier = tokens.ensure(JOB)
    again = replace(JOB, uid="another")
    with pytest.raises(UnavailableError, match="kns/kns-job-7-tokens is of an earlier record"):
        tokens.ensure(again)
    server.drop("/api/v1", "secrets", "kns", "kns-job-7-tokens")
    assert tokens.ensure(again) != earlier


def test_of_two_that_make_tokens_both_get_the_same(server: ApiServer, client: KubeClient, tokens: KubeTokens) -> None:
    other = KubeTokens(client, namespace="kns")
    theirs = []
    server.script("GET", "-tokens", Meanwhile(lambda: theirs.append(other.ensure(JOB))))
    assert [tokens.ensure(JOB)] == theirs


def test_tokens_are_not_in_a_repr(tokens: KubeTokens) -> None:
    made = tokens.ensure(JOB)
    assert made.password not in repr(made)


def test_a_stored_value_is_base64(server: ApiServer, tokens: KubeTokens) -> None:
    made = tokens.ensure(JOB)
    assert base64.b64decode(secret(server, "kns-job-7-tokens")["data"]["password"]).decode() == made.password
