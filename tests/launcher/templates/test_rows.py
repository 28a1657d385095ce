"""Templating as the documents describe it, row by row (T01 to T21)."""

import json
from pathlib import Path
from typing import Any

import pytest

from kns.launcher.config.arguments import Mode
from kns.launcher.ports import Names, Profile
from kns.launcher.templates.commands import run_command
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import generate, read_defaults
from kns.launcher.templates.sample import JOB_ID, PROFILE, SAMPLE
from kns.launcher.templates.sample import NAMES as SAMPLE_NAMES
from kns.launcher.templates.validate import validate
from kns.plain.job import Container, PlainJob, Port, Resources
from tests.launcher.templates.conftest import HEAD, NAMES, Scratch, a_job


def command(mode: Mode, scratch: Scratch, *, verbose: bool = False) -> tuple[int, str]:
    lines: list[str] = []
    status = run_command(mode, scratch.folder, lines.append, verbose=verbose)
    return status, "\n".join(lines)


def test_t01_the_first_start_writes_both_templates_and_never_overwrites(scratch: Scratch) -> None:
    scratch.renderer()
    written = {path.name: path.read_text() for path in scratch.folder.iterdir()}
    scratch.write("job.tpl", written["job.tpl"] + "# edited\n")

    scratch.renderer()

    assert read_defaults() == written
    assert (scratch.folder / "job.tpl").read_text().endswith("# edited\n")
    assert (scratch.folder / "job.tpl").stat().st_mode & 0o777 == 0o644


def test_t01_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TemplateError, match=r"job\.tpl: cannot be written to .*/file/scratch"):
        generate(tmp_path / "file" / "scratch")


def test_t02_generate_templates(scratch: Scratch) -> None:
    assert command(Mode.GENERATE, scratch) == (
        0, f"wrote {scratch.folder}/job.tpl\nwrote {scratch.folder}/service.tpl"
    )  # fmt: skip
    scratch.write("job.tpl", "# Version: 1\nedited\n")

    assert command(Mode.GENERATE, scratch) == (0, f"{scratch.folder} has both templates already; nothing was changed")
    assert (scratch.folder / "job.tpl").read_text() == "# Version: 1\nedited\n"


def test_t04_diff_templates(scratch: Scratch) -> None:
    generate(scratch.folder)
    assert command(Mode.DIFF, scratch) == (0, f"The templates in {scratch.folder} are the default ones.")
    scratch.write("job.tpl", (scratch.folder / "job.tpl").read_text().replace("backoffLimit: 0", "backoffLimit: 1"))

    status, said = command(Mode.DIFF, scratch)

    assert status == 0
    assert f"--- generated/job.tpl\n+++ {scratch.folder}/job.tpl" in said
    assert "-  backoffLimit: 0\n+  backoffLimit: 1" in said


def test_t04_without_the_program_diff(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(scratch.folder)
    monkeypatch.setenv("PATH", str(scratch.folder))

    assert command(Mode.DIFF, scratch) == (1, "the program diff is not on the PATH; install it (package diffutils)")


DEFAULT = read_defaults()


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("{{- with .Job.host }}", "{{- with .Job.host }", "job.tpl: line 25: unexpected"),
        ("toYaml .Job.name", "toYamel .Job.name", "job.tpl: line 16: function 'toYamel' not defined"),
        ("kind: Job", 'kind: "Job', "job.tpl: does not make YAML"),
        ("backoffLimit: 0", "backoffLimit: 0  ", "job.tpl: line 7 of the result: ends in white space"),
        ("restartPolicy: Never", "restartPolicy: OnFailure",
         "job.tpl: spec.template.spec.restartPolicy: must be 'Never', not 'OnFailure'"),
        ("backoffLimit: 0", 'backoffLimit: "0"', "job.tpl: spec.backoffLimit: must be a whole number, not a text"),
        ("rs-launcher-container", "main",
         "job.tpl: spec.template.spec.containers[rs-launcher-container]: is missing, and the plugin needs it"),
        ("user: {{ toYaml .Job.user }}", "owner: {{ toYaml .Job.user }}",
         "job.tpl: spec.template.metadata.annotations.user: is missing, and the plugin needs it; take it from "
         ".Job.user"),
        ("name: {{ toYaml .Job.name }}", "name: fixed",
         "job.tpl: spec.template.metadata.annotations.name: is not what .Job.name has: 'fixed'"),
        ("user: {{ toYaml .Job.user }}", 'user: {{ toYaml .Job.user }}\n        cost: {{ quote ".Job.user" }}',
         'job.tpl: line 18: ".Job.user" is a text, not the value; write .Job.user without quotes'),
        ("user: {{ toYaml .Job.user }}", "user: {{ toYaml .Job.user }}\n        count: 3",
         "job.tpl: spec.template.metadata.annotations.count: must be a text, not a whole number; use quote or toYaml"),
        ("backoffLimit: 0", "backoffLimit: {{ len .Job.nothing }}", "job.tpl: line 11: function 'len' failed"),
    ],
)  # fmt: skip
def test_t05_each_kind_of_mistake_has_its_own_finding(scratch: Scratch, old: str, new: str, finding: str) -> None:
    generate(scratch.folder)
    assert old in DEFAULT["job.tpl"]
    scratch.write("job.tpl", DEFAULT["job.tpl"].replace(old, new, 1))

    status, said = command(Mode.VALIDATE, scratch)

    assert status == 1
    assert finding in said
    scratch.renderer()  # the plugin starts whatever the validation found


def test_t05_the_defaults_have_no_finding(scratch: Scratch) -> None:
    generate(scratch.folder)

    assert command(Mode.VALIDATE, scratch) == (0, f"The templates in {scratch.folder} are valid.")


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("kind: Service", "kind: Pod", "service.tpl: makes 'v1 Pod'; it must make a v1 Service"),
        (
            "    job-name: {{ toYaml .Job.id }}\n  ports",
            "    app: x\n  ports",
            "service.tpl: spec.selector.job-name: is",
        ),
        ("{{- if not .publishedPort }}", "{{- if true }}", "service.tpl: spec.ports: has ['5559', '6000', '8787']"),
        ("port: {{ int .targetPort }}\n", "port: {{ toYaml .targetPort }}\n", "service.tpl: spec.ports: has"),
    ],
)
def test_t05_the_service_is_checked_too(scratch: Scratch, old: str, new: str, finding: str) -> None:
    generate(scratch.folder)
    assert old in DEFAULT["service.tpl"]
    scratch.write("service.tpl", DEFAULT["service.tpl"].replace(old, new, 1))

    assert finding in command(Mode.VALIDATE, scratch)[1]


def test_t05_a_template_that_cuts_texts_is_found(scratch: Scratch) -> None:
    generate(scratch.folder)
    scratch.write(
        "job.tpl", DEFAULT["job.tpl"].replace("toYaml .Job.name", 'regexReplaceAll "[^a-zA-Z ]" .Job.name ""')
    )

    assert "changes a text with quotes and line breaks" in command(Mode.VALIDATE, scratch)[1]


def test_t06_verbose_prints_yaml_that_kubectl_can_read(scratch: Scratch) -> None:
    generate(scratch.folder)

    status, said = command(Mode.VALIDATE, scratch, verbose=True)

    assert status == 0
    assert said.count("---\n# Version: 1\napiVersion: ") == 2
    assert said.endswith(f"\n# The templates in {scratch.folder} are valid.")


def test_t07_a_reload_takes_valid_changes_and_keeps_the_old_ones_otherwise(scratch: Scratch) -> None:
    renderer = scratch.renderer()

    def label() -> Any:
        return renderer.render_job(a_job(), NAMES, Profile())["spec"].get("ttlSecondsAfterFinished")

    scratch.write(
        "job.tpl", DEFAULT["job.tpl"].replace("backoffLimit: 0", "backoffLimit: 0\n  ttlSecondsAfterFinished: 9")
    )
    assert label() is None
    assert renderer.reload()
    assert label() == 9

    for broken in ("# Version: 9\n", "# Version: 1\n{{ .Job.name", "# Version: 1\nkind: Pod\n", '# Version: 1\na: "\n'):
        scratch.write("job.tpl", broken)
        assert not renderer.reload()
        assert label() == 9
    assert [event for event, _ in scratch.warnings] == ["templates_kept"] * 4
    assert "version '9' is not known" in scratch.warnings[0][1]


def test_t07_a_plugin_with_invalid_templates_starts_and_recovers(scratch: Scratch) -> None:
    scratch.write("job.tpl", "# Version: 1\n{{ nonsense }}\n")
    renderer = scratch.renderer()
    assert scratch.warnings == [("templates_invalid", "job.tpl:2: function 'nonsense' not defined")]
    with pytest.raises(TemplateError, match="function 'nonsense' not defined"):
        renderer.render_job(a_job(), NAMES, Profile())

    scratch.write("job.tpl", DEFAULT["job.tpl"])

    assert renderer.reload()
    assert renderer.render_job(a_job(), NAMES, Profile())["kind"] == "Job"


@pytest.mark.parametrize("version", ["1", "2", "2.1.0", "2.3.0", "2.3.1", "2.4.0", "2.5.0"])
def test_t08_published_versions_are_accepted(scratch: Scratch, version: str) -> None:
    assert scratch.job(f"# Version: {version}\napiVersion: batch/v1\nkind: Job\n") == {
        "apiVersion": "batch/v1", "kind": "Job",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("# Version: 9", "job.tpl:1: version '9' is not known (known: 1, 2, 2.1.0, 2.3.0, 2.3.1, 2.4.0, 2.5.0)"),
        ("apiVersion: batch/v1", "job.tpl:1: must begin with the line '# Version: 1', not 'apiVersion: batch/v1'"),
        ("", "job.tpl:1: must begin with the line '# Version: 1', not ''"),
    ],
)
def test_t08_another_first_line_is_refused(scratch: Scratch, first: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        scratch.job(f"{first}\nkind: Job\n")

    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("action", "printed"),
    [
        ('toYaml "x" | indent 4 | trimPrefix (repeat 4 " ")', "x"),
        ('nindent 0 (toYaml (dict "a" 1)) | trim', "a: 1"),
        ('(splitList ":" "s:k:N" | first)', "s"),
        ('(slice (splitList ":" "s:k:N") 1 2 | first)', "k"),
        ('(splitList ":" "s:k:N" | last)', "N"),
        ('cat "[" (list 1 2 | join ", ") "]" | nospace', "[1,2]"),
        ('mulf "2" 0.5 | toString', "1"),
        ('printf "%.2f%s" (mulf "1024" 0.25) "M"', "256.00M"),
        ('float64 "1" | toYaml', "1"),
        ("any (ne (len list) 0) (ne (len list) 1)", "true"),
        ('hasKey (dict "a" 1) "a"', "true"),
        ('get (dict "a" "b") "a"', "b"),
        ('(mustFromJson "{\\"a\\": [1]}").a | toJson', "[1]"),
        ('concat (list 1) (list 2) | toJson', "[1,2]"),
        ('(mergeOverwrite (dict "a" 1) (dict "a" 2)).a', "2"),
        ('"" | default "d"', "d"),
        ('add 1 2', "3"),
        ('has "b" (list "a" "b")', "true"),
        ('append (list 1) 2 | toJson', "[1,2]"),
        ('quote "a" 1', '"a" "1"'),
        ('squote "it\'s"', '"it\'s"'),
        ('(dict "a" (dict "b" 1)).a.b', "1"),
        ('ternary "y" "n" true', "y"),
        ('regexReplaceAll "a+" "baab" "x"', "bxb"),
        ('print "a" 1 2 "b"', "a1 2b"),
        ('printf "%q %v %5.1f" "a" (list 1 "b") 2.0', '"a" [1 b]   2.0'),
        ('sha256sum "a" | trunc 8', "ca978112"),
        (".Job.nothing.at.all", ""),
        ('tpl "{{ .x }}" (dict "x" 1)', "1"),
        ("eq .Job.cpuRequestRatio 1.0", "true"),
    ],
)  # fmt: skip
def test_t09_sprig_and_helm_functions(scratch: Scratch, action: str, printed: str) -> None:
    assert printed == scratch.templates().render_source(f"{{{{ {action} }}}}", a_job(), NAMES)


# The constructs of the published generations, in our own words.
GENERATIONS = """# Version: 2.5.0
{{- $data := include "site.data" nil | mustFromJson }}
apiVersion: batch/v1
kind: Job
metadata:
  annotations:
    {{- with .Job.metadata.job.annotations }}
    {{- range $key, $val := . }}
    {{ $key }}: {{ toYaml $val | indent 4 | trimPrefix (repeat 4 " ") }}
    {{- end }}
    {{- end }}
    {{- range $key, $val := $data.annotations }}
    {{ $key }}: {{ toYaml $val | indent 4 | trimPrefix (repeat 4 " ") }}
    {{- end }}
    tags: {{ .Job.tags | join " " | cat "all:" | toYaml }}
  labels:
    {{- with .Job.instanceId }}
    launcher-instance-id: {{ toYaml . }}
    {{- end }}
    managed: "launcher"
spec:
  template:
    spec:
      serviceAccountName: {{ .Job.serviceAccountName | default $data.account | quote }}
      links: {{ if hasKey $data "links" }}{{ $data.links }}{{ else }}false{{ end }}
      {{- if or (ne (len .Job.volumes) 0) (ne (len $data.volumes) 0) }}
      volumes:
        {{- range .Job.volumes }}
        - {{ nindent 10 (toYaml .) | trim -}}
        {{- end }}
        {{- range $data.volumes }}
        - {{ nindent 10 (toYaml .) | trim -}}
        {{- end }}
      {{- end }}
      {{- if ne (len .Job.placementConstraints) 0 }}
      nodeSelector:
        {{- range .Job.placementConstraints }}
        {{ .name }}: {{ toYaml .value }}
        {{- end }}
      {{- end }}
      {{- $identity := dict }}
      {{- if .Job.container.runAsUserId }}
        {{- $_ := set $identity "runAsUser" .Job.container.runAsUserId }}
      {{- end }}
      {{- if .Job.container.supplementalGroupIds }}
        {{- $ids := list }}
        {{- range .Job.container.supplementalGroupIds }}
          {{- $ids = append $ids . }}
        {{- end }}
        {{- $_ := set $identity "supplementalGroups" (cat "[" ($ids | join ", ") "]") }}
      {{- end }}
      {{- if $identity }}
      securityContext:
        {{- range $key, $val := $identity }}
        {{ $key }}: {{ $val }}
        {{- end }}
      {{- end }}
      containers:
        - name: rs-launcher-container
          args:
            - {{ .Job.args | join " " | cat .Job.command | toYaml | indent 12 | trimPrefix (repeat 12 " ") }}
          env:
            {{- range .Job.config }}
            {{- if eq .name "secret" }}
            {{- $secret := dict }}
            {{- $_ := set $secret "secret" (splitList ":" .value | first) }}
            - name: {{ splitList ":" .value | last }}
              secret: {{ get $secret "secret" }}
            {{- end }}
            {{- end }}
          ports:
            {{- range .Job.exposedPorts }}
            - containerPort: {{ .targetPort }}
              protocol: {{ .protocol }}
            {{- end }}
          {{- $limits := dict }}
          {{- range .Job.resourceLimits }}
            {{- if eq .type "memory" }}
              {{- $_ := set $limits "memory" (printf "%s%s" .value "M") }}
            {{- else if eq .type "NVIDIA GPUs" }}
              {{- $_ := set $limits "nvidia.com/gpu" (float64 .value) }}
            {{- end }}
          {{- end }}
          limits:
            {{- range $key, $val := $limits }}
            {{ $key }}: {{ toYaml $val }}
            {{- end }}
          {{- with $data.extra }}
          extra:
            {{- toYaml . | nindent 12 }}
          {{- end }}
"""
DATA = (
    '{{- define "site.data" }}{"account": "default", "links": true, "volumes": [{"name": "v"}], "annotations": '
    '{"long": "' + "name " * 30 + '"}, "extra": {"a": [1.5, "b"]}}{{- end }}\n'
)


def test_t09_the_constructs_of_every_published_generation(scratch: Scratch) -> None:
    scratch.write("site-data.tpl", DATA)
    scratch.write("job.tpl", GENERATIONS)

    made = scratch.renderer().render_job(SAMPLE, SAMPLE_NAMES, PROFILE)

    pod = made["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert made["metadata"]["annotations"] == {"long": "name " * 30, "tags": "all: rstudio-r-session sample tag"}
    assert made["metadata"]["labels"] == {"managed": "launcher"}
    assert (pod["serviceAccountName"], pod["links"]) == ("default", True)
    assert [volume["name"] for volume in pod["volumes"]] == ["mount0", "mount1", "v"]
    assert pod["nodeSelector"] == {"region": "us"}
    assert pod["securityContext"] == {"runAsUser": 1001, "supplementalGroups": [2001, 2002]}
    assert container["args"] == ["echo $HOME one two words"]
    assert container["env"] == [{"name": "DB_PASSWORD", "secret": "db"}]
    assert container["ports"][0] == {"containerPort": 8787, "protocol": "TCP"}
    assert container["limits"] == {"memory": "1024M", "nvidia.com/gpu": 1}
    assert container["extra"] == {"a": [1.5, "b"]}


def test_t09_names_longer_than_a_line_of_yaml_stay_in_one_piece(scratch: Scratch) -> None:
    name = "a very long name of a session " * 20

    for lines in ("    n: {{ toYaml .Job.name }}", "    n: {{ .Job.name | quote }}", "    n: {{ .Job.name }}"):
        assert {"n": name} == scratch.notes(lines, name=name)


# The documents' table of fields, with the types of their values; lists have the type of an item.
TABLE: dict[str, object] = {
    "id": str, "cluster": str, "generateName": str, "name": str, "user": str, "workingDirectory": str,
    "container.image": str, "container.runAsUser": int, "container.runAsGroup": int,
    "container.supplementalGroupIds": [int], "host": str, "command": str, "exe": str, "stdin": str, "args": [str],
    "placementConstraints": [{"name": str, "value": str}], "exposedPorts": [{"protocol": str, "targetPort": str}],
    "mounts": [{"mountPath": str, "readOnly": bool, "mountSource": {"type": str, "source": dict}}],
    "config": [{"name": str, "value": str}], "resourceLimits": [{"type": str, "value": str}],
    "volumes": [{"name": str}], "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}], "tags": [str],
    "servicePortsJson": str, "shareProcessNamespace": bool, "memoryRequestRatio": float, "cpuRequestRatio": float,
}  # fmt: skip


def assert_shape(value: Any, shape: object, path: str) -> None:
    if isinstance(shape, list):
        assert isinstance(value, list), path
        assert value, path
        for item in value:
            assert_shape(item, shape[0], path)
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            assert_shape(value[key], inner, f"{path}.{key}")
    else:
        assert type(value) is shape, path


@pytest.mark.parametrize("path", TABLE)
def test_t10_fields_of_a_full_job_have_the_documented_types(path: str) -> None:
    value: Any = build_fields(SAMPLE, SAMPLE_NAMES, PROFILE, job_id=JOB_ID, service=JOB_ID)
    for key in path.split("."):
        value = value[key]

    assert_shape(value, TABLE[path], path)


def test_t10_an_empty_job_has_no_null_list(scratch: Scratch) -> None:
    fields = build_fields(PlainJob(name="n", user="u", container=Container("i")), NAMES, None)

    lists = {key: value for key, value in fields.items() if isinstance(value, list)}
    assert all(value == [] for value in lists.values())
    assert lists.keys() >= {path for path, shape in TABLE.items() if isinstance(shape, list) and "." not in path}
    assert fields["container"]["supplementalGroupIds"] == []
    assert fields["container"]["runAsUser"] is None
    assert fields["id"] == "", "only a Service has the id"
    assert scratch.notes('    n: "{{ len .Job.args }}{{ len .Job.environment }}"') == {"n": "00"}


def test_t10_to_yaml_of_the_whole_job(scratch: Scratch) -> None:
    made = scratch.job(f"{HEAD}dump:\n{{{{ toYaml .Job | indent 2 }}}}\n", name="a\nb: c")

    assert made["dump"] == json.loads(json.dumps(build_fields(a_job(name="a\nb: c"), NAMES, Profile())))


def test_t10_both_spellings_of_the_identity(scratch: Scratch) -> None:
    container = Container("i", run_as_user=7, run_as_group=8)

    assert scratch.notes(
        '    n: "{{ .Job.container.runAsUser }} {{ .Job.container.runAsUserId }} {{ .Job.container.runAsGroupId }}"',
        container=container,
    ) == {"n": "7 7 8"}  # fmt: skip


def test_t11_include_of_a_file_in_the_scratch_folder(scratch: Scratch) -> None:
    scratch.write("custom.tpl", "custom: {{ toYaml .Job.user }}")
    scratch.write("plain.yaml", "plain: {{ toYaml . }}")

    assert scratch.notes('    {{ include "custom.tpl" . }}\n    {{ include "plain.yaml" .Job.name }}') == {
        "custom": "ann", "plain": "work",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.tpl", "only files in the scratch folder can be included"),
        ("/etc/passwd", "only files in the scratch folder can be included"),
        ("..", "only files in the scratch folder can be included"),
        ("job.tpl", "job.tpl cannot be included"),
        ("none.tpl", "not defined"),
    ],
)
def test_t11_include_does_not_leave_the_folder(scratch: Scratch, name: str, said: str) -> None:
    scratch.write("x.tpl", "")
    (scratch.folder.parent / "secret.tpl").write_text("secret")

    with pytest.raises(TemplateError, match=said):
        scratch.notes(f'    {{{{ include "{name}" . }}}}')


def test_t11_a_link_inside_the_folder_is_followed_and_one_out_of_it_is_not(scratch: Scratch) -> None:
    """A mounted ConfigMap has links to files of a folder `..data` beside them."""
    scratch.write("x.tpl", "")
    data = scratch.folder / "..2026"
    data.mkdir()
    (data / "job.tpl").write_text(DEFAULT["job.tpl"])
    (scratch.folder / "..data").symlink_to("..2026")
    (scratch.folder / "job.tpl").symlink_to("..data/job.tpl")
    assert scratch.job()["kind"] == "Job"

    outside = scratch.folder.parent / "outside.tpl"
    outside.write_text(DEFAULT["job.tpl"])
    (scratch.folder / "job.tpl").unlink()
    (scratch.folder / "job.tpl").symlink_to(outside)

    with pytest.raises(TemplateError, match=r"job\.tpl: is a link to .*/outside\.tpl, outside"):
        scratch.job()


@pytest.mark.parametrize(
    "value",
    ["", "plain", "yes", "null", "~", "1", "1.0", "1e3", "0x1f", "0o17", "1:30", "2026-11-28", "- a", "a: b", "#",
     "a #b",     "'", '"', "\\", "a\nb", " a ", "\ttab", "{}", "[]", "*a", "&a", "!t", "%", "@", "`", "é", "日本", "🎉",
     "\x07", "\u2028",     "\ufeff", "<no value>", "=", "<<", "n", "...", "---", "x" * 200, "word " * 40],
)  # fmt: skip
def test_t12_to_yaml_keeps_every_text(scratch: Scratch, value: str) -> None:
    assert {"n": value, "l": f"{value}"} == scratch.notes(
        '    n: {{ toYaml .Job.name }}\n    l: {{ toYaml .Job.tags | trimPrefix "- " }}',
        name=value or "x",
        tags=(value,),
    ) | ({"n": ""} if not value else {})


def test_t12_to_yaml_of_volumes(scratch: Scratch) -> None:
    scratch.write("job.tpl", f"{HEAD}volumes:\n{{{{ toYaml .Job.volumes | indent 2 }}}}\n")

    assert scratch.renderer().render_job(SAMPLE, NAMES, PROFILE)["volumes"] == [
        {"name": "mount0", "nfs": {"server": "nfs.example.org", "path": "/home/sample-user"}},
        {"name": "mount1", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
    ]


def program(scratch: Scratch, script: str) -> Path:
    path = scratch.write("get-user-details", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_t13_t18_exec_prints_stdout(scratch: Scratch) -> None:
    path = program(scratch, 'echo "cc-$1-$2"')

    assert scratch.notes(f'    my.org/costCenter: {{{{ exec "{path}" "--cost-center" .Job.user }}}}') == {
        "my.org/costCenter": "cc---cost-center-ann"
    }


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo cc-1", "cc-1"),
        ("exit 1", "UNKNOWN: exit status 1"),
    ],
)
def test_t13_t18_both_branches_of_the_documents_example(scratch: Scratch, script: str, note: str) -> None:
    path = program(scratch, script)

    assert scratch.notes(
        f'    {{{{- $res := exec "{path}" "--cost-center" ".Job.user" }}}}\n'
        "    {{- if eq $res.ExitCode 1 }}\n"
        '    my.org/costCenter: "UNKNOWN: {{ $res.Err }}"\n'
        "    {{- else }}\n"
        "    my.org/costCenter: {{ $res.Stdout }}\n"
        "    {{- end }}\n"
    ) == {"my.org/costCenter": note}


def test_t13_a_program_that_does_not_run(scratch: Scratch) -> None:
    found = scratch.notes(
        '    {{- $res := exec "/no/program" }}\n'
        '    n: "{{ $res.ExitCode }} {{ $res.Err }}"\n    e: {{ toYaml $res.Stderr }}'
    )

    assert found == {"n": "-1 exec: '/no/program': No such file or directory", "e": ""}


@pytest.mark.parametrize(("user", "note"), [("ann", "true"), ("bob", None)])
def test_t14_groups(scratch: Scratch, user: str, note: str | None) -> None:
    notes = scratch.notes(
        '    n: "x"\n    {{- $grp := groups .Job.user }}\n'
        '    {{- if has "admin-grp" $grp }}\n    my.org/admin: "true"\n    {{- end }}',
        user=user,
    )

    assert note == notes.get("my.org/admin")


@pytest.mark.parametrize(("name", "ask"), [("job.tpl", "{{ groups .Job.user }}"), ("job.j2", "{{ groups(Job.user) }}")])
def test_t14_a_rule_by_group_is_not_skipped_while_the_directory_does_not_answer(
    scratch: Scratch, name: str, ask: str
) -> None:
    """The system says the same of an unknown user."""
    scratch.write(name, f"{HEAD}metadata: {{name: x}} # {ask}\n")
    renderer = scratch.renderer()
    assert renderer.render_job(a_job(user="bob"), NAMES, Profile())["kind"] == "Job"
    with pytest.raises(TemplateError, match=r"groups of 'nobody' are not known: .* directory service does not answer"):
        renderer.render_job(a_job(user="nobody"), NAMES, Profile())
    assert renderer.reload(), "the user of the sample job is nobody's"


@pytest.mark.parametrize(("user", "role"), [("ann", "rs-admin-role"), ("bob", "rs-user-role")])
def test_t19_a_role_per_group(scratch: Scratch, user: str, role: str) -> None:
    notes = scratch.notes(
        "    {{- $grp := groups .Job.user }}\n"
        '    {{- if has "admin-grp" $grp }}\n    my.org/admin: "true"\n    iam.amazonaws.com/role: "rs-admin-role"\n'
        '    {{- else }}\n    iam.amazonaws.com/role: "rs-user-role"\n    {{- end }}',
        user=user,
    )

    assert notes["iam.amazonaws.com/role"] == role


def changed(scratch: Scratch, old: str, new: str) -> dict[str, Any]:
    assert old in DEFAULT["job.tpl"]
    pod: dict[str, Any] = scratch.job(DEFAULT["job.tpl"].replace(old, new, 1))["spec"]["template"]["spec"]
    return pod


def test_t15_host_aliases(scratch: Scratch) -> None:
    aliases = 'hostAliases:\n        - ip: "10.2.141.12"\n          hostnames: ["db01"]\n      restartPolicy: Never'

    assert changed(scratch, "restartPolicy: Never", aliases)["hostAliases"] == [
        {"ip": "10.2.141.12", "hostnames": ["db01"]}
    ]


def test_t15_the_documents_comma_after_an_item_is_found(scratch: Scratch) -> None:
    generate(scratch.folder)
    aliases = 'hostAliases:\n        - ip: "10.2.141.12",\n          hostnames: ["db01"]\n      restartPolicy: Never'
    scratch.write("job.tpl", DEFAULT["job.tpl"].replace("restartPolicy: Never", aliases))

    assert "job.tpl: does not make YAML, line" in command(Mode.VALIDATE, scratch)[1]


def test_t16_capabilities_belong_to_the_container(scratch: Scratch) -> None:
    generate(scratch.folder)
    add = 'add: ["NET_ADMIN", "SYS_PTRACE"]'
    right = f"securityContext:\n            capabilities:\n              {add}\n          stdinOnce: true"
    pod = changed(scratch, "stdinOnce: true", right)
    assert pod["containers"][0]["securityContext"] == {"capabilities": {"add": ["NET_ADMIN", "SYS_PTRACE"]}}
    assert validate(scratch.folder).findings == ()

    wrong = '      securityContext:\n        capabilities:\n          add: ["NET_ADMIN"]\n'
    scratch.write("job.tpl", DEFAULT["job.tpl"].replace("      securityContext:\n", wrong))

    assert (
        "job.tpl: spec.template.spec.securityContext.capabilities: has no effect on a pod; write it to the "
        "securityContext of the container rs-launcher-container" in command(Mode.VALIDATE, scratch)[1]
    )


def test_t17_image_pull_secrets(scratch: Scratch) -> None:
    pod = changed(
        scratch, "restartPolicy: Never", "imagePullSecrets:\n        - name: mysecret\n      restartPolicy: Never"
    )

    assert pod["imagePullSecrets"] == [{"name": "mysecret"}]


def test_t20_a_side_car(scratch: Scratch) -> None:
    side = "- name: side\n          image: busybox\n          restartPolicy: Always"
    side = f"initContainers:\n        {side}\n      containers:"

    assert changed(scratch, "containers:", side)["initContainers"][0]["restartPolicy"] == "Always"


def test_t21_the_service(scratch: Scratch) -> None:
    service = scratch.renderer().render_service(
        a_job(ports=(Port(8787), Port(53, None, "UDP"), Port(5559, 30559))),  # type: ignore[arg-type]
        NAMES, job_id="ann-work-x7k2p", service="ann-work-x7k2p",
    )  # fmt: skip

    assert service == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ann-work-x7k2p", "labels": {"job-name": "ann-work-x7k2p"}},
        "spec": {
            "type": "NodePort",
            "clusterIP": "",
            "selector": {"job-name": "ann-work-x7k2p"},
            "ports": [
                {"name": "port0", "protocol": "TCP", "port": 8787, "targetPort": 8787},
                {"name": "port1", "protocol": "UDP", "port": 53, "targetPort": 53},
            ],
        },
    }


def test_t21_the_ports_of_the_service_are_kept_in_an_annotation(scratch: Scratch) -> None:
    assert scratch.job()["spec"]["template"]["metadata"]["annotations"]["service_ports"] == NAMES.service_ports_json


@pytest.mark.parametrize(
    ("limits", "profile", "resources"),
    [
        ([], Profile(), None),
        ([("cpuCount", "2"), ("memory", "1024")], Profile(), {"limits": {"cpu": "2", "memory": "1024M"}}),
        ([("cpuCount", "2"), ("memory", "1024")], Profile(cpu_request_ratio=0.25, memory_request_ratio=0.5),
         {"limits": {"cpu": "2", "memory": "1024M"}, "requests": {"cpu": "0.5", "memory": "512.00M"}}),
        ([("CPU Request", "1"), ("cpuCount", "2")], Profile(cpu_request_ratio=0.25),
         {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}),
        ([("cpuCount", "2"), ("CPU Request", "1"), ("Memory Request", "5")], Profile(cpu_request_ratio=0.25),
         {"limits": {"cpu": "2"}, "requests": {"cpu": "1", "memory": "5M"}}),
        ([("NVIDIA GPUs", "1"), ("AMD GPUs", "0")], Profile(), {"limits": {"nvidia.com/gpu": "1"}}),
    ],
)  # fmt: skip
def test_the_default_template_writes_limits_and_requests(
    scratch: Scratch, limits: list[tuple[str, str]], profile: Profile, resources: object
) -> None:
    job = a_job(
        extras={"resourceLimits": [{"type": kind, "value": value} for kind, value in limits]}, resources=Resources()
    )

    made = scratch.renderer().render_job(job, NAMES, profile)

    assert resources == made["spec"]["template"]["spec"]["containers"][0].get("resources")


def test_the_default_template_has_no_secret_and_no_stdin_in_annotations(scratch: Scratch) -> None:
    made = scratch.renderer().render_job(SAMPLE, SAMPLE_NAMES, PROFILE)
    annotations = made["spec"]["template"]["metadata"]["annotations"]

    assert "stdin" not in annotations
    assert set(annotations) == {"name", "user", "service_ports", "USER_TAG_0", "USER_TAG_1"}


def test_the_default_templates_agree_with_the_builders(scratch: Scratch) -> None:
    """A site that turns templates on gets the same pod, besides how a shell command is split."""
    from kns.plain.objects import build_job

    templated = scratch.renderer().render_job(SAMPLE, SAMPLE_NAMES, Profile())["spec"]["template"]["spec"]
    built = build_job(SAMPLE, generate_name="x-")["spec"]["template"]["spec"]
    for pod in (templated, built):
        container = pod["containers"][0]
        container["command"] = [*container.pop("command"), *container.pop("args", [])]
        for key in (
            "ports",
            "stdinOnce",
            "resources",
        ):  # ports of the Service need no entry; resources come from extras
            container.pop(key)

    assert built == templated


def test_names_are_the_plugins(scratch: Scratch) -> None:
    names = Names(generate_name="x-", cluster="C2")

    assert scratch.renderer().render_job(a_job(), names, Profile())["metadata"]["generateName"] == "x-"
