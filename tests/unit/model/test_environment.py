"""
How scripts receive parameters and account variables: environment, a file for shells, a file for programs, uploads.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.appdef.appdef import parse_appdef
from kns.model.appdef.env_names import RESERVED
from kns.model.appdef.parameters import ParameterValue
from kns.model.errors import InvalidInputError
from kns.model.job.tokens import make_tokens
from kns.model.site import KeycloakSettings
from kns.model.submit.resolution import Constants, resolve_parameters
from kns.model.submit.script_data import (
    build_jobenv,
    build_parameter_env,
    build_parameters_json,
    build_secret_parameter_env,
)
from kns.objects.keycloak import build_client_info
from kns.stages.environment import build_public_env, build_secret_env, build_uploads
from tests.builders import a_command, a_job, an_appdef


def a_value(key: str, value: Any = "x", *, kind: str = "STR", **more: Any) -> ParameterValue:
    return ParameterValue(key=key, type=kind, value=value, **more)


VALUES = [
    a_value("-in.file", "/data/a b", kind="FILE"),
    a_value("workers", 2, kind="INT", variable=True),
    a_value("ratio", 5.0, kind="FLOAT"),
    a_value("small", 1e-300, kind="FLOAT"),
    a_value("debug", True, kind="BOOL", variable=True, positional=False),
    a_value("my-theme", "dark", kind="selection", variable=True),
    a_value("token", "u:key", kind="CONST", variable=True, needs_key=True),
    a_value("page", None, kind="UPLOAD", target="www/page.html", positional=False),
]
VARIABLES = {"LAB_TOKEN": "it's $HOME"}


@pytest.mark.proves("parameters", "Scripts get variables, `jobenv.sh` and `parameters.json` under fixed names")
def test_the_public_environment_has_all_but_secrets() -> None:
    assert build_parameter_env(VALUES) == {
        "KNS_PARAM_IN_FILE": "/data/a b",
        "KNS_PARAM_WORKERS": "2",
        "workers": "2",
        "KNS_PARAM_RATIO": "5",
        "KNS_PARAM_SMALL": "1e-300",
        "KNS_PARAM_DEBUG": "true",
        "debug": "true",
        "KNS_PARAM_MY_THEME": "dark",
        "KNS_PARAM_PAGE": "/opt/www/page.html",
    }


def test_every_name_that_kns_sets_is_reserved_and_no_other_of_its_prefix() -> None:
    """A parameter with `variable` or an account variable of that name would replace kns's own value."""
    job = a_job().build()
    assert job.spec.accepted is not None
    names = {
        *build_public_env(job.spec, job.spec.accepted, None),
        *build_secret_env(make_tokens()),
        *build_client_info(7, KeycloakSettings("https://kc.example.org", "jarvice", 60), "s"),
        *("KNS_WORK_DIR", "KNS_TERMINATION_LOG"),  # init-image/README.md
    }
    assert {name for name in RESERVED if name.startswith(("KNS_", "JARVICE_"))} == names


def test_the_secret_environment_has_the_rest() -> None:
    assert build_secret_parameter_env(VALUES) == {"KNS_PARAM_TOKEN": "u:key", "token": "u:key"}


def test_a_value_is_the_same_after_a_whole_number_lost_its_fraction_in_storage() -> None:
    assert build_parameter_env([a_value("r", 5, kind="FLOAT")]) == build_parameter_env([a_value("r", 5.0)])


@pytest.mark.proves("parameters", "Scripts get variables, `jobenv.sh` and `parameters.json` under fixed names")
def test_the_file_for_programs_keeps_order_and_kinds() -> None:
    entries = json.loads(build_parameters_json(VALUES))
    assert [entry["key"] for entry in entries] == [value.key for value in VALUES]
    assert [entry["value"] for entry in entries] == [
        "/data/a b", 2, 5.0, 1e-300, True, "dark", "u:key", "/opt/www/page.html",
    ]  # fmt: skip
    assert entries[4] == {"key": "debug", "type": "BOOL", "value": True, "positional": False}


@pytest.mark.proves("parameters", "Scripts get variables, `jobenv.sh` and `parameters.json` under fixed names")
def test_the_file_for_shells_has_both_environments() -> None:
    lines = build_jobenv(VALUES, VARIABLES).splitlines()
    assert "KNS_PARAM_IN_FILE='/data/a b'" in lines
    assert """LAB_TOKEN='it'"'"'s $HOME'""" in lines
    both = {**build_parameter_env(VALUES), **build_secret_parameter_env(VALUES), **VARIABLES}
    assert dict(shlex.split(line)[0].split("=", 1) for line in lines) == both


def test_a_shell_reads_it_back() -> None:
    odd = "a'b\"c $(echo no) `echo no` \\ \n second line\t*;#"
    script = build_jobenv([a_value("odd", odd)], {}) + 'printf %s "$KNS_PARAM_ODD"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout == odd


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_is_one_word_for_a_shell(text: str) -> None:
    (word,) = shlex.split(build_jobenv([a_value("t", text)], {}))
    assert word == f"KNS_PARAM_T={text}"


def test_the_page_for_authors_tells_what_its_example_gives() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "appdef.md").read_text()
    (block,) = re.findall(r"```json\n(\"variables\": .+?)```", page, re.DOTALL)
    (sentence,) = re.findall(r"^Submitted with `\"parameters\": (\{.+\})`, scripts see (.+)\.$", page, re.MULTILINE)
    example = json.loads(f"{{{block}}}")
    command = a_command(parameters=example["commands"]["Lab"]["parameters"])
    appdef = parse_appdef(an_appdef(variables=example["variables"], commands={"Lab": command}))
    values = resolve_parameters(
        appdef.commands["Lab"].parameters, json.loads(sentence[0]), Constants(values={}, refused={})
    )
    told = re.findall(r"`(\S+?)`", sentence[1])
    assert [f"{name}={value}" for name, value in build_parameter_env(values).items()] == told[:-1]
    assert list(appdef.variables) == told[-1:]


@pytest.mark.proves("parameters", "An upload is base64 and becomes a file below `/opt`")
def test_uploads_are_files_below_opt() -> None:
    assert build_uploads(VALUES, {"page": "aGVs\nbG8="}) == {"www/page.html": b"hello"}


@pytest.mark.parametrize("parameters", [{}, {"page": "%%%"}, {"page": None}])
def test_an_upload_whose_content_is_gone(parameters: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^spec\.parameters\.page: the uploaded content is missing in the record$"
    ):
        build_uploads(VALUES, parameters)
