"""`job-json-overrides`: values put into a Kubernetes Job by JSON pointer."""

from typing import Any

import pytest

from kns.launcher.config.pointer import apply_overrides, find_protected, parse_pointer
from kns.model.errors import InvalidInputError

JOB: dict[str, Any] = {
    "metadata": {"annotations": {"a/b": "1", "c~d": "2"}},
    "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "main"}]}}},
}


@pytest.mark.parametrize(
    ("pointer", "value", "path", "expected"),
    [
        ("/spec/template/spec/hostAliases", [{"ip": "x"}], ["spec", "template", "spec", "hostAliases"], [{"ip": "x"}]),
        ("/spec/backoffLimit", 3, ["spec", "backoffLimit"], 3),
        ("/metadata/annotations/a~1b", "new", ["metadata", "annotations"], {"a/b": "new", "c~d": "2"}),
        ("/metadata/annotations/c~0d", "new", ["metadata", "annotations"], {"a/b": "1", "c~d": "new"}),
        ("/metadata/labels/team", "r", ["metadata", "labels"], {"team": "r"}),
        ("/spec/template/spec/containers/0/tty", True, ["spec", "template", "spec", "containers"],
         [{"name": "main", "tty": True}]),
        ("/spec/template/spec/containers/-", {"name": "side"}, ["spec", "template", "spec", "containers"],
         [{"name": "main"}, {"name": "side"}]),
        ("/spec/template/spec/tolerations/-", {"key": "k"}, ["spec", "template", "spec", "tolerations"],
         [{"key": "k"}]),
        ("/spec/template/spec/containers/0", {"name": "x"}, ["spec", "template", "spec", "containers"],
         [{"name": "x"}]),
    ],
)  # fmt: skip
def test_p30_a_value_is_put_in_its_place(pointer: str, value: Any, path: list[str], expected: Any) -> None:
    changed: Any = apply_overrides(JOB, [(pointer, value)])
    for key in path:
        changed = changed[key]

    assert expected == changed


def test_p30_later_overrides_see_earlier_ones_and_the_job_itself_stays() -> None:
    overrides = [
        ("/spec/template/spec/tolerations/-", {"key": "a"}),
        ("/spec/template/spec/tolerations/-", {"key": "b"}),
    ]

    changed = apply_overrides(JOB, overrides)

    assert changed["spec"]["template"]["spec"]["tolerations"] == [{"key": "a"}, {"key": "b"}]
    assert "tolerations" not in JOB["spec"]["template"]["spec"]


def test_p30_the_configured_value_is_not_shared_between_jobs() -> None:
    overrides = [("/spec/x", {"a": []}), ("/spec/x/a/-", 1)]

    assert apply_overrides(JOB, overrides) == apply_overrides(JOB, overrides)


@pytest.mark.parametrize(
    ("pointer", "said"),
    [
        ("/spec/backoffLimit/x", "'x' is below a value that is no object or list"),
        ("/spec/backoffLimit/x/y", "'x' is below a value that is no object and no list"),
        ("/spec/template/spec/containers/1", "the list has no item '1', it has 1"),
        ("/spec/template/spec/containers/00/x", "the list has no item '00', it has 1"),
        ("/spec/template/spec/containers/name", "the list has no item 'name', it has 1"),
    ],
)
def test_p30_a_pointer_to_nowhere_is_refused(pointer: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match="job-json-overrides") as caught:
        apply_overrides(JOB, [(pointer, 1)])

    assert said in str(caught.value)


@pytest.mark.parametrize("pointer", ["", "spec", "/a~2b", "/a~", "/" + "a/" * 64])
def test_p30_a_wrong_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match=r"pointer|more than"):
        parse_pointer(pointer)


def test_p31_what_the_plugin_needs_is_known() -> None:
    assert find_protected([("/kind", 1), ("/spec/template/spec/hostAliases", [])]) == ["/kind"]
