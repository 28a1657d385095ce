"""A user's text never leaves its place in the YAML, whatever the text is and however the template prints it."""

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kns.launcher.mounts import read_mounts
from kns.launcher.ports import Profile
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import Snapshot, read_defaults
from kns.launcher.templates.renderer import Templates
from kns.launcher.templates.user_text import Masks, UserText, find_masks, is_harmless, mark
from kns.launcher.templates.yaml_text import read_yaml, write_yaml
from kns.plain.job import Constraint, Container, PlainJob, Port, SecretVariable, Variable
from tests.launcher.templates.conftest import HEAD, NAMES, Scratch, a_job

EXAMPLES = 40  # of each property; a rendering takes some 10 ms

# What YAML, Go templates and Kubernetes give a meaning, and any other text.
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab1 \t\n\r\"'\\{}[]:,#-&*!|>%@`?=<~.\u2028\u0085\x07", max_size=40),
    st.sampled_from(
        ["", " ", "\n", "a\nspec:\n  x: 1", "a: b", "- a", "'", '"', "\\", "{{ .Job.user }}", "}}", "<no value>", "yes",
         "1e3",         "null", "0x10", "2026-11-28", "1:30", "x" * 300, "|\n a", "&a b", "*a", "!!int 1", "? a", "...",
         "---\nkind: Pod",         "kns0000000000000000x000000x"]
    ),
)  # fmt: skip
NOT_EMPTY = TEXTS.filter(lambda text: text != "")


@functools.cache
def compile_job(source: str) -> Templates:
    return Templates(Snapshot({"job.tpl": source}, {}), Path("/"), lambda user: ["users", user])


def render(templates: Templates, job: PlainJob) -> Any:
    return templates.render("job.tpl", build_fields(job, NAMES, Profile())).value


DEFAULT = compile_job(read_defaults()["job.tpl"])


@pytest.mark.proves("security", "add fields to the pod by a name, a tag or a variable, through a site's template")
@given(name=NOT_EMPTY, user=NOT_EMPTY, text=TEXTS, texts=st.lists(TEXTS, max_size=3), more=NOT_EMPTY)
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_text_of_a_job_arrives_unchanged_through_the_default_template(
    name: str, user: str, text: str, texts: list[str], more: str
) -> None:
    job = PlainJob(
        name=name,
        user=user,
        container=Container(more),
        exe=more,
        args=tuple(texts),
        environment=tuple(Variable(each, text) for each in texts),
        stdin=text,
        working_directory=text,
        host=text,
        ports=(Port(1, 2),),
        constraints=(Constraint(more, text),),
        tags=tuple(texts),
    )

    made = render(DEFAULT, job)

    notes = made["spec"]["template"]["metadata"]["annotations"]
    pod = made["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert made.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert notes == {
        "name": name, "user": user, "service_ports": NAMES.service_ports_json,
        **{f"USER_TAG_{number}": tag for number, tag in enumerate(texts)},
    }  # fmt: skip
    assert pod["nodeSelector"] == {more: text}
    assert pod.get("nodeName", "") == text
    assert container["image"] == more
    assert container["command"] == [more]
    assert container.get("args", []) == texts
    assert container.get("env", []) == [{"name": each, "value": text} for each in texts]
    assert container.get("workingDir", "") == text
    assert container["stdin"] is bool(text)


@pytest.mark.proves("security", "add fields to the pod by a name, a tag or a variable, through a site's template")
@pytest.mark.parametrize(
    "place",
    [
        "    n: {{ .Job.name }}",
        "    n: {{ .Job.name }} # {{ .Job.name }}",
        '    n: "{{ .Job.name }}"',
        "    n: '{{ .Job.name }}'",
        "    n: {{ .Job.name | quote }}",
        "    n: {{ .Job.name | squote }}",
        "    n: {{ .Job.name | toJson }}",
        "    n: {{ toYaml .Job.name }}",
        "    n: {{ toYaml .Job.name | nindent 6 }}",
        "    n: {{ toYaml .Job.name | indent 8 | trimPrefix (repeat 8 \" \") }}",
        "    n: {{ printf \"%s\" .Job.name }}",
        "    n: {{ printf \"%s\" .Job.name | toYaml }}",
        "    n: {{ .Job.tags | first }}",
        "    n: {{ index .Job.tags 0 }}",
        "    n: {{ join \"\" .Job.tags }}",
        "    n: {{ range .Job.tags }}{{ . }}{{ end }}",
        "    n: {{ (index .Job.environment 0).value }}",
        "    n: {{ $x := dict \"a\" .Job.name }}{{ get $x \"a\" }}",
        "    n: {{ $x := dict \"a\" .Job.name }}{{ $x.a }}",
        "    n: {{ (list .Job.name) | last }}",
        "    n: {{ (append (list) .Job.name) | first }}",
        "    n: {{ define \"part\" }}{{ .Job.name }}{{ end }}{{ template \"part\" . }}",
        "    n: {{ default \"d\" .Job.name }}",
        "    n: {{ with .Job.name }}{{ . }}{{ end }}",
        "    n: {{ coalesce .Job.name \"d\" }}",
        "    n: {{ tpl \"{{ .Job.name }}\" . }}",
    ],
)  # fmt: skip
@given(name=NOT_EMPTY)
@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_stays_in_its_place_however_it_is_printed(place: str, name: str) -> None:
    """A harmless text that looks like a number may become one, as in Helm; everything else arrives as it is."""
    templates = compile_job(f"{HEAD}metadata:\n  annotations:\n{place}\n    after: kept\n")
    job = a_job(name=name, tags=(name,), environment=(Variable("A", name),))

    made = render(templates, job)

    assert made.keys() == {"apiVersion", "kind", "metadata"}
    assert made["metadata"].keys() == {"annotations"}
    assert made["metadata"]["annotations"].keys() == {"n", "after"}
    assert made["metadata"]["annotations"]["after"] == "kept"
    found = made["metadata"]["annotations"]["n"]
    assert found == name if isinstance(found, str) else is_harmless(name), found


@pytest.mark.parametrize(
    "text",
    [
        "upper", "lower", "title", "nospace", "trim", 'replace "b" "\\n"', "trunc 5", "abbrev 9",
        "repeat 2", "indent 2", "html", 'printf "%s\\n  evil: 1"', 'cat "a"', "snakecase", "b64dec",
        'splitList "a" | last', "substr 0 3", "toString", "print",
    ],
)  # fmt: skip
@given(name=NOT_EMPTY)
@settings(max_examples=EXAMPLES // 4, deadline=None)
def test_a_computed_text_stays_in_its_place_too(text: str, name: str) -> None:
    templates = compile_job(f"{HEAD}n: {{{{ .Job.name | {text} }}}}\nafter: kept\n")

    try:
        made = render(templates, a_job(name=name))
    except TemplateError as error:  # a function may refuse a text
        assert "failed" in error.said  # noqa: PT017
        return

    assert made.keys() == {"apiVersion", "kind", "n", "after"}
    assert made["after"] == "kept"


@given(name=NOT_EMPTY)
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_key_and_a_flow_list_keep_their_structure(name: str) -> None:
    templates = compile_job(f"{HEAD}m: {{ {{{{ .Job.name }}}}: [{{{{ .Job.name }}}}, last] }}\nafter: kept\n")

    made = render(templates, a_job(name=name))

    assert made.keys() == {"apiVersion", "kind", "m", "after"}
    ((key, value),) = made["m"].items()
    assert len(value) == 2
    if not is_harmless(name):
        assert (key, value[0]) == (name, name)


@given(secret=NOT_EMPTY.filter(lambda text: ":" not in text))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_parts_of_a_secret_stay_in_their_places(secret: str) -> None:
    templates = compile_job(
        f'{HEAD}env:\n{{{{- range .Job.config }}}}\n- name: {{{{ splitList ":" .value | last }}}}\n'
        '  key: {{ slice (splitList ":" .value) 1 2 | first }}\n{{- end }}\n'
    )

    made = render(templates, a_job(secrets=(SecretVariable(secret, "s", secret),)))

    (entry,) = made["env"]
    assert entry.keys() == {"name", "key"}


@given(value=st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8,
))  # fmt: skip
@settings(max_examples=EXAMPLES * 3, deadline=None)
def test_yaml_reads_what_was_written(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == value
    assert read_yaml(write_yaml(mark(value, Masks()))) == value


@given(text=TEXTS)
@settings(max_examples=EXAMPLES * 5, deadline=None)
def test_a_harmless_text_is_one_plain_scalar_everywhere(text: str) -> None:
    if text and is_harmless(text):
        assert len(read_yaml(f"a: {text}\nb: 1")) == 2
        assert len(read_yaml(f"a: [{text}, 1]")["a"]) == 2
        assert read_yaml(f'a: "{text}"') == {"a": text}
        assert read_yaml(f"a: '{text}'") == {"a": text}


def test_a_mask_cannot_be_guessed_or_forged() -> None:
    first, second = Masks(), Masks()
    mask = first.mask("secret")

    assert first.reveal(mask, "job.tpl") == "secret"
    assert second.reveal(mask, "job.tpl") == mask


def test_a_mask_that_a_template_cuts_is_an_error(scratch: Scratch) -> None:
    scratch.write("part.tpl", "{{ .Job.name }}")

    with pytest.raises(TemplateError, match="changes the result of an include with a user's text; use toYaml in it"):
        scratch.notes('    n: {{ include "part.tpl" . | trunc 20 }}', name='a"')


@pytest.mark.proves("security", "write the template, by a text that the site gives to `tpl`")
def test_a_user_cannot_write_a_template(scratch: Scratch) -> None:
    with pytest.raises(TemplateError, match="tpl of a user's text would let the user write the template"):
        scratch.notes("    n: {{ tpl .Job.name . }}", name="{{ exec `id` }}")


def test_an_error_names_the_users_text_and_not_its_mask(scratch: Scratch) -> None:
    with pytest.raises(TemplateError) as caught:
        scratch.notes('    n: {{ fail (printf "no %s" .Job.name) }}', name='a"b')

    assert 'no a"b' in str(caught.value)


def test_numbers_stay_numbers(scratch: Scratch) -> None:
    assert scratch.notes("    p: {{ (first .Job.exposedPorts).targetPort }}") == {"p": 8787}


def test_comparisons_see_the_text(scratch: Scratch) -> None:
    lines = """
    n: "{{ eq .Job.name (printf "%s%s" "it's" " x") }} {{ has .Job.name .Job.tags }} {{ contains "'" .Job.name }}"
"""

    assert scratch.notes(lines, name="it's x", tags=("it's x",)) == {"n": "true true true"}


def test_a_text_is_a_text_for_every_function() -> None:
    text = UserText("a", Masks())

    assert (text == "a", hash(text), "a" in {text}, isinstance(text, str)) == (True, hash("a"), True, True)


@pytest.mark.parametrize("depth", [1, 9, 25])
@pytest.mark.parametrize("printed", ["source", "source.csi", "source.csi.a | toString", "source | toJson | fromJson"])
def test_a_text_deep_in_a_mount_stays_in_its_place(scratch: Scratch, depth: int, printed: str) -> None:
    """A mount may have lists in lists, and a template may print them as they are."""
    value: Any = "x\n  more: 1\nspec2:\n  evil: true\n#"
    for _ in range(depth):
        value = [value]
    mounts = read_mounts(
        {"mounts": [{"mountPath": "/x", "type": "passthrough", "source": {"csi": {"a": value}}}]},
    )
    lines = f"    a: {{{{ (index .Job.mounts 0).{printed} }}}}"
    made = scratch.job(f"{HEAD}metadata:\n  annotations:\n{lines}\n", mounts=mounts)
    assert made.keys() == {"apiVersion", "kind", "metadata"}
    assert made["metadata"]["annotations"].keys() == {"a"}


def test_values_that_are_too_deep_are_refused() -> None:
    value: Any = "x"
    for _ in range(100):
        value = [value]
    with pytest.raises(TemplateError, match="in one another"):
        mark(value, Masks())
    with pytest.raises(TemplateError, match="in one another"):
        find_masks(value)


EVIL = "x\n  more: 1\nspec2:\n  evil: true\n#"


@pytest.mark.parametrize(
    "printed",
    [
        '(fromJson (dict "a" .Job.name | toJson)).a',
        '(dict "a" .Job.name | toYaml | trim | fromYaml).a',
        "index (list .Job.name | toJson | fromJsonArray) 0",
        ".Job.name | b64enc | b64dec",
        '(include "helper.tpl" . | fromYaml).a',
    ],
)
def test_a_text_that_was_quoted_and_read_again(scratch: Scratch, printed: str) -> None:
    """Helm's way to copy an object and to return one from another template."""
    scratch.write("helper.tpl", "a: {{ .Job.name | toYaml }}")
    made = scratch.job(f"{HEAD}metadata:\n  annotations:\n    a: {{{{ {printed} }}}}\n", name=EVIL)
    assert made["metadata"]["annotations"] == {"a": EVIL}


@pytest.mark.parametrize("source", ["toYaml .Job.name", "toYaml .Job.tags | indent 2", 'include "helper.tpl" .'])
def test_tpl_of_quoted_texts_is_refused(scratch: Scratch, source: str) -> None:
    """Otherwise a user could run programs by `exec`."""
    scratch.write("helper.tpl", "{{ .Job.name | toYaml }}")
    with pytest.raises(TemplateError, match="write the template"):
        scratch.job(
            f"{HEAD}metadata:\n  annotations:\n    a: {{{{ tpl ({source}) . }}}}\n",
            name='{{ "run" }}',
            tags=('{{ "run" }}',),
        )
