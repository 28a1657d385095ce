"""Templates in Jinja2 (T22)."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kns.launcher.ports import Profile
from kns.launcher.templates.engine import Engine
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import Snapshot, generate
from kns.launcher.templates.jinja import JinjaEngine
from kns.launcher.templates.renderer import Templates
from kns.launcher.templates.user_text import is_harmless
from kns.model.errors import UnavailableError
from kns.plain.job import Variable
from tests.launcher.templates.conftest import HEAD, NAMES, Scratch, a_job


def job(scratch: Scratch, template: str, **fields: Any) -> dict[str, Any]:
    scratch.write("job.j2", HEAD + template)
    return scratch.renderer().render_job(a_job(**fields), NAMES, Profile())


def test_t22_job_j2_takes_the_place_of_job_tpl(scratch: Scratch) -> None:
    template = """args:
{% for arg in Job.args %}
- {{ arg | to_yaml }}
{% endfor %}
{% if "admin-grp" in groups(Job.user) %}
admin: true
{% endif %}
container: {{ Job.container.image }}
missing: {{ Job.nothing.at.all }}
cost: {{ exec("echo", "cc-1").Stdout | trim }}
{% include "part.j2" %}
"""
    scratch.write("part.j2", "user: {{ Job.user }}\n")

    made = job(scratch, template, args=("one", "two\nlines"))

    assert made == {
        "apiVersion": "batch/v1", "kind": "Job", "args": ["one", "two\nlines"], "admin": True,
        "container": "r-session:4.5", "missing": None, "cost": "cc-1", "user": "ann",
    }  # fmt: skip
    assert not (scratch.folder / "job.tpl").exists()
    assert (scratch.folder / "service.tpl").exists()


def test_t22_a_reload_finds_a_new_jinja_template(scratch: Scratch) -> None:
    renderer = scratch.renderer()
    generate(scratch.folder)
    scratch.write("job.j2", HEAD + "made: by jinja\n")

    assert renderer.reload()
    assert renderer.render_job(a_job(), NAMES, Profile())["made"] == "by jinja"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ Job.name ", r"job\.j2:4: unexpected end of template"),
        ("{{ Job.name | nothing }}", r"job\.j2:4: No filter named 'nothing'"),
        ('{% include "../job.tpl" %}', r"job\.j2: \.\./job\.tpl is not in the scratch folder"),
        ('{% include "/etc/passwd" %}', r"job\.j2: /etc/passwd is not in the scratch folder"),
        ("{{ 'a' * 99999999 }}", "makes more than 2097152 characters"),
        ("{{ 2 ** 99999999 }}", "makes more than 2097152 characters"),
        ("{% for i in range(99999999) %}{% endfor %}", "range of more than 10000"),
        ("{% for i in range(10000) %}{{ 'x' * 1000 }}{% endfor %}", "makes more than 2097152 characters"),
        ("{{ 1 / 0 }}", "failed: division by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deeply"),
        ("a: 'b", r"job\.j2: does not make YAML"),
    ],
)
def test_t22_a_wrong_template_says_what_is_wrong(scratch: Scratch, template: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        job(scratch, template + "\n")


def test_t22_the_program_itself_is_closed(scratch: Scratch) -> None:
    assert job(scratch, "n: {{ Job.__class__.__mro__ }}\n")["n"] is None


@pytest.mark.parametrize(("engine", "ask"), [(Engine, "{{ groups .user }}"), (JinjaEngine, "{{ groups(user) }}")])
def test_a_directory_that_hangs_is_named_with_the_template(engine: type[Engine | JinjaEngine], ask: str) -> None:
    def list_groups(_: str) -> tuple[str, ...]:
        raise UnavailableError("no answer of the directory")

    with pytest.raises(TemplateError, match=r"job.*no answer of the directory"):
        engine({"job": ask}, folder=Path("/"), groups=list_groups).render("job", {"user": "ann"})


def test_t22_rendering_ends_at_its_deadline() -> None:
    ticks = itertools.count()
    engine = JinjaEngine(
        {"job.j2": "{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}"},
        folder=Path("/"), groups=lambda user: (), clock=lambda: next(ticks) * 0.1,
    )  # fmt: skip

    with pytest.raises(TemplateError, match="rendering takes longer than 20 s"):
        engine.render("job.j2", {})


@pytest.mark.parametrize(
    "value",
    [
        "{{ Job.name }}", '"{{ Job.name }}"', "'{{ Job.name }}'", "{{ Job.name | to_yaml }}", "{{ Job.name | tojson }}",
        "{{ Job.tags[0] }}", "{{ Job.tags | first }}", "{{ Job.tags | join('') }}", "{{ Job.name + '' }}",
        "{{ '' ~ Job.name }}", "{% for c in Job.name %}{{ c }}{% endfor %}{{ '' }}",
        "{{ '%s' % Job.name }}", "{{ '{}'.format(Job.name) }}", "{{ Job.name | string }}", "{{ Job.name[:] }}",
        "{{ Job.name.replace('never in it', 'x') }}", "{{ Job.name | replace('never in it', 'x') }}",
        "{{ [Job.name] | map('string') | first }}", "{{ Job.name | default('d') }}", "{% set x = Job.name %}{{ x }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(Job.name) }}", "{{ Job.environment[0].value }}",
    ],
)  # fmt: skip
@given(name=st.text(min_size=1, max_size=30) | st.text(alphabet="ab \n\"'\\{}[]:,#-&*!|", min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_t22_a_text_stays_in_its_place(value: str, name: str) -> None:
    templates = Templates(
        Snapshot({"job.j2": f"{HEAD}n: {value}\nafter: kept\n"}, {"job.tpl": "job.j2"}), Path("/"), lambda user: ()
    )
    fields = build_fields(a_job(name=name, tags=(name,), environment=(Variable("A", name),)), NAMES, None)

    made = templates.render("job.tpl", fields).value

    assert made.keys() == {"apiVersion", "kind", "n", "after"}
    assert made["n"] == name if isinstance(made["n"], str) else is_harmless(name)
