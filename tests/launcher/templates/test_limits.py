"""A rendering ends: in time, in depth, in output. Time is simulated."""

import itertools
from pathlib import Path

import pytest

from kns.launcher.templates import limits
from kns.launcher.templates.engine import Engine
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.folder import read_snapshot
from kns.launcher.templates.yaml_text import YamlError, read_yaml
from tests.launcher.templates.conftest import HEAD, Scratch


def engine(source: str, *, step_s: float = 0.0) -> Engine:
    """An engine whose clock goes on by `step_s` each time it is read."""
    ticks = itertools.count()
    return Engine({"job.tpl": source}, folder=Path("/"), groups=lambda user: (), clock=lambda: next(ticks) * step_s)


@pytest.mark.proves("security", "make a template run without end, or make an endless object")
@pytest.mark.parametrize(
    "source",
    [
        "{{ range until 1000 }}{{ end }}",
        "{{ range until 1000 }}x{{ end }}",
        '{{ range until 1000 }}{{ upper "a" }}{{ end }}',
        '{{ define "a" }}{{ template "b" . }}{{ template "b" . }}{{ end }}{{ define "b" }}x{{ end }}'
        '{{ range until 900 }}{{ template "a" . }}{{ end }}',
    ],
)
def test_rendering_ends_at_its_deadline(source: str) -> None:
    with pytest.raises(TemplateError, match="rendering takes longer than 20 s"):
        engine(source, step_s=0.1).render("job.tpl", {})


def test_doubling_templates_end_at_the_deadline() -> None:
    """20 levels that call each other twice would run a million times."""
    levels = "".join(
        f'{{{{ define "l{n}" }}}}{{{{ template "l{n + 1}" . }}}}{{{{ template "l{n + 1}" . }}}}{{{{ end }}}}'
        for n in range(20)
    )
    source = f'{levels}{{{{ define "l20" }}}}{{{{ end }}}}{{{{ template "l0" . }}}}'

    with pytest.raises(TemplateError, match="rendering takes longer than 20 s"):
        engine(source, step_s=0.01).render("job.tpl", {})


@pytest.mark.proves("security", "make a template run without end, or make an endless object")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}', "depth"),
        ('{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}', "depth"),
        ('{{ define "a" }}{{ tpl "{{ include `a` . }}" . }}{{ end }}{{ include "a" . }}', "depth"),
        ("{{ range until 10000 }}{{ range until 10000 }}{{ end }}{{ end }}", "iteration budget exceeded"),
        ('{{ repeat 10001 "x" }}', "repeat of 10001 is more than 10000"),
        ('{{ indent 99999999 "x" }}', "indent of 99999999 is more than 10000"),
        ('{{ nindent 99999999 "x" }}', "nindent of 99999999 is more than 10000"),
        ("{{ until 99999999 }}", "until of 99999999 is more than 10000"),
        ("{{ untilStep 0 99999999 1 }}", "untilStep of 99999999 is more than 10000"),
        ("{{ seq 0 1 99999999 }}", "seq of 99999999 is more than 10000"),
        ("{{ randAlphaNum 99999999 }}", "randAlphaNum of 99999999 is more than 10000"),
        ('{{ printf "%99999999d" 1 }}', "a width of more than 999"),
        ('{{ printf "%.99999999f" 1.0 }}', "a width of more than 999"),
        ('{{ printf "%*d" 99999999 1 }}', "a width of more than 999"),
        ('{{ $x := "xxxxxxxxxx" }}{{ range until 30 }}{{ $x = printf "%s%s" $x $x }}{{ end }}', "more than 2097152"),
        ('{{ $x := repeat 10000 "x" }}{{ range until 1000 }}{{ $x }}{{ end }}', "output character budget exceeded"),
    ],
)  # fmt: skip
def test_rendering_is_bounded(source: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        engine(source).render("job.tpl", {})


def test_a_deeply_nested_expression_is_an_error() -> None:
    with pytest.raises(TemplateError, match="nesting limit exceeded"):
        engine("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8)
        ), "more than 100000 values"),
        ("[" * 500 + "]" * 500, "nested too deeply"),
        ("a: 1\n---\nb: 1\n", "expected a single document"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: 1e999", "is not a number of JSON"),
        ("? [a]\n: 1", "unhashable"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_yaml_is_bounded_and_is_json(text: str, said: str) -> None:
    with pytest.raises(YamlError, match=said):
        read_yaml(text)


def test_templates_are_bounded(scratch: Scratch) -> None:
    scratch.renderer()
    scratch.write("big.tpl", "x" * (limits.MAX_TEMPLATE_BYTES + 1))
    with pytest.raises(TemplateError, match=r"big\.tpl: is larger than 262144 bytes"):
        read_snapshot(scratch.folder)

    (scratch.folder / "big.tpl").unlink()
    for number in range(limits.MAX_TEMPLATES):
        scratch.write(f"t{number}.tpl", "")
    with pytest.raises(TemplateError, match="there are more than 200 templates"):
        read_snapshot(scratch.folder)


def test_a_template_that_is_no_text_is_an_error(scratch: Scratch) -> None:
    scratch.renderer()
    (scratch.folder / "job.tpl").write_bytes(HEAD.encode() + b"\xff")

    with pytest.raises(TemplateError, match=r"job\.tpl:4: is not UTF-8"):
        read_snapshot(scratch.folder)


def test_a_template_that_is_a_device_is_an_error(scratch: Scratch) -> None:
    scratch.renderer()
    (scratch.folder / "job.tpl").unlink()
    (scratch.folder / "job.tpl").mkdir()

    with pytest.raises(TemplateError, match=r"job\.tpl: is not a file"):
        read_snapshot(scratch.folder)
