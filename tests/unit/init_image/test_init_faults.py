"""Which failed attempts are worth another one, and how the last one says what to do."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runner.faults import find_fault

if TYPE_CHECKING:
    from tests.unit.init_image.conftest import Ended, FakeKubectl, Sleeper

StepBuilder = Callable[..., dict[str, Any]]
PlanWriter = Callable[[Sequence[dict[str, Any]]], Path]
Runner = Callable[[Path], "Ended"]

TOO_LARGE_FOR_CLIENT = (
    'The ConfigMap "big" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes'
)


def _encoded(script: bytes) -> str:
    return base64.b64encode(script).decode()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("error: from a-: cannot use generate name with apply", "kubectl create -f"),
        ("error: resource name may not be empty", "metadata.name"),
        ("Error from server (RequestEntityTooLarge): Request entity too large: limit is 3145728", "split it"),
        ('The Secret "a" is invalid: data: Too long: may not be more than 1048576 bytes', "split it"),
        ('error: the path "web.yml" does not exist', "add the file to the image"),
        ("error: error parsing web.yml: error converting YAML to JSON: yaml: line 2: did not find", "not valid YAML"),
        ("error: no objects passed to apply", "has no objects"),
        ("error: error reading [folder]: recognized file extensions are [.json .yaml .yml]", "must end in .json"),
        (
            'error: error validating "a.yml": error validating data: kind not set; if you choose',
            "no apiVersion or no kind",
        ),
        (
            'error: error validating "a.yml": error validating data: [apiVersion not set, kind not set]; if you choose',
            "no apiVersion or no kind",
        ),
        ("error: invalid Kustomization: yaml: line 1: did not find expected", "kustomization file is not valid"),
        ("error: unable to find one of 'kustomization.yaml', 'kustomization.yml' or", "a kustomization.yaml"),
        ("error: must build at directory: not a valid directory: evalsymlink failure on 'x' : lstat", "correct path"),
        (
            "error: accumulating resources: accumulation err='accumulating resources from 'a.yml': evalsymlink failure "
            "on '/templates/a.yml' : lstat /templates/a.yml: no such file or directory': must build at directory: not "
            "a valid directory: evalsymlink failure on '/templates/a.yml' : lstat /templates/a.yml: no such file or "
            "directory",
            "names a file that is not in /templates",
        ),
    ],
)
def test_a_fault_of_the_item_ends_it_at_once(
    run: Runner,
    kubectl: FakeKubectl,
    sleeper: Sleeper,
    a_step: StepBuilder,
    write_plan: PlanWriter,
    said: str,
    advice: str,
) -> None:
    """One attempt, no pause, and output and termination message say what to do."""
    kubectl.answer("apply", (1, "service/web created\n", f"{said}\n"))
    kubectl.answer("apply server-side", (1, "", f"{said}\n"))  # only asked for an object that is too large
    ended = run(write_plan([a_step(retries=20), a_step("never")]))
    assert len(kubectl.calls("apply")) == 1
    assert (sleeper.pauses, ended.code, ended.message["reason"]) == ([], 1, "ItemOutOfRetries")
    assert ended.lines[-1].startswith("[1/2] web: attempt 1 failed (exit 1), no retry can change that: ")
    assert advice in ended.lines[-1]
    assert str(ended.message["message"]).startswith("item 1/2 'web' failed in attempt 1, no retry can change that: ")
    assert advice in str(ended.message["message"])
    assert ended.message["attempt"] == 1


@pytest.mark.parametrize(
    "said",
    [
        'error: resource mapping not found for name: "x" namespace: "" from "a.yml": no matches for kind "Thing"',
        'Error from server (NotFound): namespaces "lab" not found',
        'The Service "UPPER" is invalid: metadata.name: Invalid value: "UPPER": a lowercase RFC 1123 label',
        'Error from server (InternalError): failed calling webhook "a.example.org": connect: connection refused',
        'error: error validating "a.yml": error validating data: failed to download openapi: connection refused',
        "error: accumulating resources: accumulation err='accumulating resources from 'https://example.org/a.yml': "
        "evalsymlink failure on '/templates/https:/example.org/a.yml' : lstat /templates/https:: no such file or "
        "directory': must build at directory: not a valid directory: evalsymlink failure on '/x' : lstat /x: no such "
        "file or directory",
        "Unable to connect to the server: dial tcp 10.0.0.1:443: connect: connection refused",
    ],
)
def test_what_others_may_change_is_retried(
    run: Runner, kubectl: FakeKubectl, a_step: StepBuilder, write_plan: PlanWriter, said: str
) -> None:
    """A CRD that another item's operator installs, a webhook that starts, a server that is away."""
    kubectl.answer("apply", (1, "", f"{said}\n"))
    ended = run(write_plan([a_step(retries=1)]))
    assert (len(kubectl.calls("apply")), ended.code) == (2, 0)


def test_a_url_may_serve_something_else_next_time() -> None:
    """An error page is no YAML today; a generated name stays one."""
    assert find_fault("error: error parsing https://example.org/a.yml: error converting YAML", fetched=True) == ""
    assert find_fault("error: no objects passed to apply", fetched=True) == ""
    assert find_fault("error: from a-: cannot use generate name with apply", fetched=True)


def test_a_url_that_serves_no_yaml_is_retried(
    run: Runner, kubectl: FakeKubectl, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    kubectl.answer("apply", (1, "", "error: error parsing https://example.org/a.yml: error converting YAML to JSON\n"))
    ended = run(write_plan([a_step(path="https://example.org/a.yml", format="url", retries=1)]))
    assert (len(kubectl.calls("apply")), ended.code) == (2, 0)


def test_an_item_that_succeeds_has_no_fault(
    run: Runner, kubectl: FakeKubectl, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Whatever a warning says."""
    kubectl.answer("apply", (0, "", "error: no objects passed to apply\n"))
    assert run(write_plan([a_step()])).code == 0


def test_the_words_of_a_script_decide_nothing(run: Runner, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """A script may print an error of kubectl's and do better next time."""
    script = "test -e /proc/self/fd/no || echo 'error: no objects passed to apply'; exit 1"
    ended = run(write_plan([a_step(script=script, retries=1)]))
    assert ended.lines[-1] == "[1/1] web: attempt 2 failed (exit 1), no retries left"


@pytest.mark.parametrize(
    "said",
    [TOO_LARGE_FOR_CLIENT, "Error from server (RequestEntityTooLarge): Request entity too large: limit is 3145728"],
)
@pytest.mark.parametrize(("changes", "stdin"), [({}, ""), ({"format": "base64", "path": "a2luZDogeAo="}, "kind: x\n")])
def test_an_object_too_large_for_client_side_apply_is_applied_server_side(
    run: Runner,
    kubectl: FakeKubectl,
    a_step: StepBuilder,
    write_plan: PlanWriter,
    said: str,
    changes: dict[str, str],
    stdin: str,
) -> None:
    """In the same attempt, and with the same manifest."""
    kubectl.answer("apply", (1, "", f"{said}\n"))
    kubectl.answer("apply server-side", (0, "configmap/big serverside-applied\n", ""))
    ended = run(write_plan([a_step(**changes)]))
    assert ended.lines == [
        "[1/1] web, attempt 1",
        said,
        "an object is too large for client-side apply; the item is applied server-side",
        "configmap/big serverside-applied",
    ]
    path = "-" if stdin else "web.yml"
    expected = ["apply", "--server-side", "--force-conflicts", "--field-manager=kns-items", "-f", path]
    assert ([(expected, stdin)], 0) == (kubectl.calls("apply server-side"), ended.code)


def test_the_server_side_apply_decides_whether_a_retry_helps(
    run: Runner, kubectl: FakeKubectl, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Too large for client-side apply is no fault of the item; too large for Kubernetes is one."""
    kubectl.answer("apply", *[(1, "", f"{TOO_LARGE_FOR_CLIENT}\n")] * 2)
    kubectl.answer("apply server-side", (1, "", 'no matches for kind "Thing"\n'))
    assert run(write_plan([a_step(retries=1)])).code == 0
    kubectl.answer("apply", *[(1, "", f"{TOO_LARGE_FOR_CLIENT}\n")] * 2)
    kubectl.answer("apply server-side", (1, "", "Request entity too large: limit is 3145728\n"))
    ended = run(write_plan([a_step(path="more.yml", retries=1)]))
    assert (ended.code, ended.message["attempt"]) == (1, 1)


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        (b"#!/bin/bash\r\necho hello\r\n", 127, "Windows line endings (CRLF)"),
        (b"\xef\xbb\xbf#!/usr/bin/python3\nprint('hello')\n", 126, "byte order mark (BOM)"),
        (b"\xef\xbb\xbfecho hello\n", 126, "byte order mark (BOM)"),
        ("#!/bin/bash\necho hello\n".encode("utf-16"), 126, "in UTF-16"),
        (b"#!/no/such/shell\n", 127, "names a program that the init image cannot run"),
        (b"#!/etc\n", 126, "names a program that the init image cannot run"),
    ],
)
def test_a_script_that_can_never_start_ends_at_once(
    run: Runner, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter, script: bytes, code: int, says: str
) -> None:
    """It never ran in part, and the message names the item, the fault and the remedy."""
    ended = run(write_plan([a_step(script="", cmd=_encoded(script), retries=20)]))
    assert (sleeper.pauses, ended.code, ended.message["exitCode"]) == ([], 1, code)
    assert "hello" not in ended.lines
    assert ended.lines[-1].startswith(f"[1/1] web: attempt 1 failed (exit {code}), no retry can change that: ")
    assert says in ended.lines[-1]
    assert says in str(ended.message["message"])


@pytest.mark.parametrize("script", [b"echo one\r\necho two\r\n", b"#!/bin/bash -\r\nexit 0\r\n"])
def test_a_script_with_windows_line_endings_that_starts_has_a_warning(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, script: bytes
) -> None:
    """bash runs it, but not as its author means it."""
    ended = run(write_plan([a_step(script="", cmd=_encoded(script))]))
    assert ended.lines[1].startswith("warning: the script has Windows line endings (CRLF)")


def test_a_release_that_a_killed_helm_left_has_a_hint(run: Runner, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """It may be somebody else's operation, so the retries go on."""
    script = 'echo "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"; exit 1'
    ended = run(write_plan([a_step(script=script, retries=1)]))
    hints = [line for line in ended.lines if line.startswith("hint: ") and "kns-helm-unlock" in line]
    assert (len(hints), ended.message["attempt"]) == (2, 2)
