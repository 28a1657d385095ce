"""AppDefs: every problem has its key path, and no JSON value crashes the parser."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.appdef.appdef import KeycloakClient, NestedKubernetes, parse_appdef
from kns.model.appdef.limit_range import parse_limit_range
from kns.model.errors import InvalidInputError, UnknownAppError
from tests.builders import WEB_TARGET, a_command, an_appdef

ITEM = {"name": "web", "type": "kubectl", "path": "web.yml"}


def b64(data: bytes | str) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def with_nested(**nested: Any) -> dict[str, Any]:
    return an_appdef(commands={"Hello": a_command(nested=nested)})


def with_command(**changes: Any) -> dict[str, Any]:
    return an_appdef(commands={"Hello": a_command(**changes)})


def with_item(**changes: Any) -> dict[str, Any]:
    item = {key: value for key, value in {**ITEM, **changes}.items() if value is not None}
    return with_nested(templates=[ITEM, item])


def without_nested() -> dict[str, Any]:
    command = a_command()
    del command["nested_kubernetes"]
    return an_appdef(commands={"Hello": command})


COMMAND, NESTED = "commands.Hello", "commands.Hello.nested_kubernetes"
SECOND = f"{NESTED}.templates[1]"
FAULTS: dict[str, tuple[Any, str, str]] = {
    # C.1
    "not an object": ([], "", "must be a JSON object"),
    **{
        f"no {key}": (an_appdef(**{key: None}), key, "Field required")
        for key in (
            "name",
            "description",
            "author",
            "licensed",
            "appdefversion",
            "classifications",
            "machines",
            "vault-types",
            "commands",
            "image",
        )
    },
    "version 1": (an_appdef(appdefversion=1), "appdefversion", "greater than or equal to 2"),
    "a version in quotes": (an_appdef(appdefversion="2"), "appdefversion", "valid integer"),
    "another kind": (an_appdef(appkind="k8s"), "appkind", "'kns'"),
    "an unknown vault type": (an_appdef(**{"vault-types": ["TAPE"]}), "vault-types[0]", "'FILE'"),
    "no command": (an_appdef(commands={}), "commands", "at least 1"),
    "machines as text": (an_appdef(machines="*"), "machines", "valid list"),
    "a walltime of words": (an_appdef(walltime="1 hour"), "walltime", "is not HH:MM:SS"),
    "an icon without data": (an_appdef(image={"type": "image/png"}), "image.data", "Field required"),
    # C.2
    "a command that is no nested app": (without_nested(), COMMAND, "nested_kubernetes is missing"),
    "both spellings": (with_command(nestedkubernetes={}), COMMAND, "give one"),
    "a command without path": (
        an_appdef(commands={"Hello": {k: v for k, v in a_command().items() if k != "path"}}),
        f"{COMMAND}.path",
        "Field required",
    ),
    "parameters as a list": (with_command(parameters=[]), f"{COMMAND}.parameters", "dictionary"),
    "a command's walltime": (with_command(walltime="0"), f"{COMMAND}.walltime", "is not HH:MM:SS"),
    "a version that is none": (with_nested(kubernetes_version="newest"), f"{NESTED}.kubernetes_version", "like v1.36"),
    "a target without port": (
        with_nested(targets=[{k: v for k, v in WEB_TARGET.items() if k != "service_port"}]),
        f"{NESTED}.targets[0].service_port",
        "Field required",
    ),
    "a port too high": (
        with_nested(targets=[{**WEB_TARGET, "service_port": 65536}]),
        f"{NESTED}.targets[0].service_port",
        "65535",
    ),
    "a service that is no DNS label": (
        with_nested(targets=[{**WEB_TARGET, "service_name": "Web_1"}]),
        f"{NESTED}.targets[0].service_name",
        "is not a DNS label",
    ),
    "an unknown URL form": (with_nested(ingress_type="path"), f"{NESTED}.ingress_type", "'subdomain'"),
    "a shell of words": (with_nested(enable_gotty_shell="maybe"), f"{NESTED}.enable_gotty_shell", "boolean"),
    "negative retries": (
        with_nested(templates_settings={"global_retry": -1}),
        f"{NESTED}.templates_settings.global_retry",
        "greater than or equal to 0",
    ),
    "no templates": (with_nested(templates=[]), f"{NESTED}.templates", "at least 1"),
    "too many templates": (with_nested(templates=[ITEM] * 201), f"{NESTED}.templates", "at most 200"),
    "a keycloak of words": (with_nested(keycloak="maybe"), f"{NESTED}.keycloak", "dictionary"),
    "a redirect without slash": (
        with_nested(keycloak={"redirect_paths": ["/a", "b"]}),
        f"{NESTED}.keycloak.redirect_paths[1]",
        "must start with '/'",
    ),
    **{
        f"a redirect like {path}": (
            with_nested(keycloak={"redirect_paths": ["/a", path]}),
            f"{NESTED}.keycloak.redirect_paths[1]",
            "'*' only at the end",
        )
        for path in ("/*/b", "/**", "/a#b", "/a<b>", '/"', "/a\\b", "/a|b", "/{id}", "/[a]", "/50%", "/%zz", "/^", "/`")
    },
    "a keycloak namespace that is no DNS label": (
        with_nested(keycloak={"namespace": "A b"}),
        f"{NESTED}.keycloak.namespace",
        "is not a DNS label",
    ),
    "a limit range of words": (with_nested(limit_range="words"), f"{NESTED}.limit_range", "JSON in base64"),
    "a limit range of many items": (with_nested(limit_range=[{}] * 11), f"{NESTED}.limit_range", "at most 10 items"),
    "a limit range of countless items": (
        with_nested(limit_range=b64(f"[{','.join(['{}'] * 5_000)}]")),
        f"{NESTED}.limit_range",
        "at most 16384 characters",
    ),
    "an unknown limit": (with_nested(limit_range={"maximum": {}}), f"{NESTED}.limit_range.maximum", "not permitted"),
    # C.3
    "an item without name": (with_item(name=None), f"{SECOND}.name", "Field required"),
    "an item of no kind": (with_item(type="helm"), f"{SECOND}.type", "'kubectl'"),
    "no path": (with_item(path=None), SECOND, "path is required for type kubectl"),
    "an absolute path": (with_item(path="/etc/passwd"), SECOND, "relative to /templates"),
    "a path that leaves": (with_item(path="a/../../b"), SECOND, "without '..'"),
    "a path that is an option": (with_item(path="--all"), SECOND, "must not start with '-'"),
    "a format for kustomize": (with_item(type="kustomize", format="url"), SECOND, "only for type kubectl"),
    "an unknown format": (with_item(format="zip"), f"{SECOND}.format", "'base64'"),
    "a url that is none": (with_item(format="url", path="file:///etc/passwd"), SECOND, "http or https URL"),
    "a url with a zero byte": (with_item(format="url", path="https://a\0b"), SECOND, "http or https URL"),
    "base64 that is none": (with_item(format="base64", path="%%%"), SECOND, "path is not base64"),
    "a script missing": (with_item(type="custom"), SECOND, "cmd is required"),
    "a script that is not base64": (with_item(type="custom", cmd="#!/bin/sh"), SECOND, "cmd is not base64"),
    "templates that no ConfigMap holds": (
        with_nested(templates=[{"name": "x", "type": "custom", "cmd": "A" * 500_000}] * 2),
        f"{NESTED}.templates",
        "more than 900000 characters in total",
    ),
    "a limit range that the host would refuse": (
        with_nested(limit_range={"default_request": {"cpu": 4}, "max": {"cpu": 2}}),
        f"{NESTED}.limit_range.default_request.cpu",
        "4 is above max 2",
    ),
    "a limit range that keeps kns out": (
        with_nested(limit_range=[{"max": {"cpu": 1}}]),
        f"{NESTED}.limit_range[0].max.cpu",
        "the limit of the container",
    ),
    "a retry in quotes": (with_item(retry="3"), f"{SECOND}.retry", "valid integer"),
    "endless retries": (with_item(retry=10**9 + 1), f"{SECOND}.retry", "less than or equal to 1000000000"),
    "an endless pause": (with_item(retry_sleep=10**9 + 1), f"{SECOND}.retry_sleep", "less than or equal to 1000000000"),
    "too many variables": (an_appdef(variables={f"V{n}": {} for n in range(201)}), "variables", "at most 200"),
    "a pause below zero": (with_item(retry_sleep=-1), f"{SECOND}.retry_sleep", "greater than or equal to 0"),
}


@pytest.mark.proves(
    "appdef",
    "There is at least one item; paths stay below `/templates`; a manifest may be in the AppDef in base64",
)
@pytest.mark.proves(
    "appdef",
    "The kind `kns` may be omitted; a command that is not a nested app is refused whatever the kind",
)
@pytest.mark.proves(
    "appdef",
    "AppDef versions from 2 on are accepted; so are the old spelling of `nested_kubernetes` (but not both), flags"
    " as strings, full Kubernetes versions, and a URL below a path",
)
@pytest.mark.parametrize(("appdef", "path", "problem"), FAULTS.values(), ids=FAULTS.keys())
def test_a_problem_is_reported_with_its_key_path(appdef: Any, path: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_appdef(appdef)
    assert caught.value.path == path
    assert problem in caught.value.problem


GOOD: dict[str, tuple[dict[str, Any], str, Any]] = {
    "one classification as text": (an_appdef(classifications="Tools"), "classifications", ["Tools"]),
    "no kind": (an_appdef(appkind=None), "appkind", None),
    "keys of older systems": (an_appdef(mpirun=True, x=[1]), "name", "Hello"),
}


@pytest.mark.proves(
    "appdef",
    "The kind `kns` may be omitted; a command that is not a nested app is refused whatever the kind",
)
@pytest.mark.proves(
    "shapes",
    "`classifications` may be a string in a file and is a list in answers; `step` and `size` are strings there; "
    "numbers, booleans and lists that a file has as strings are returned in their own type; wrongly typed values "
    "are omitted",
)
@pytest.mark.parametrize(("appdef", "field", "value"), GOOD.values(), ids=GOOD.keys())
def test_what_published_appdefs_do(appdef: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(parse_appdef(appdef), field) == value


@pytest.mark.parametrize("path", ["/*", "/", "/a/b*", "/a%2Fb/c.d_~-", "/a?b=c&d=*", "/(a);b,c:d@e!$'+="])
def test_a_redirect_path_may_be_any_of_a_url(path: str) -> None:
    assert parse_appdef(with_nested(keycloak={"redirect_paths": [path]}))


def test_a_stored_job_stays_readable_whatever_its_redirect_paths() -> None:
    """The rules of an earlier kns were others."""
    nested = {"templates": [ITEM], "keycloak": {"redirect_paths": ["/*/b#c"]}}
    assert NestedKubernetes.model_validate(nested).keycloak == KeycloakClient(redirect_paths=["/*/b#c"])


@pytest.mark.proves("appdef", "`keycloak` is a flag or an object")
@pytest.mark.proves(
    "appdef",
    "AppDef versions from 2 on are accepted; so are the old spelling of `nested_kubernetes` (but not both), flags"
    " as strings, full Kubernetes versions, and a URL below a path",
)
@pytest.mark.parametrize(
    ("nested", "field", "value"),
    [
        ({}, "kubernetes_version", ""),
        ({"kubernetes_version": "v1.28.11"}, "kubernetes_version", "v1.28"),
        ({"kubernetes_version": "1.30"}, "kubernetes_version", "v1.30"),
        ({"enable_gotty_shell": "true"}, "enable_gotty_shell", True),
        ({"enable_gotty_shell": "False"}, "enable_gotty_shell", False),
        ({"targets": []}, "targets", []),
        ({"keycloak": {"namespace": "a"}}, "keycloak", KeycloakClient(redirect_paths=["/*"], namespace="a")),
        ({"keycloak": "true"}, "keycloak", KeycloakClient()),
        ({"keycloak": False}, "keycloak", None),
    ],
)
def test_values_of_nested_kubernetes(nested: dict[str, Any], field: str, value: Any) -> None:
    command = parse_appdef(with_nested(**nested)).commands["Hello"]
    assert getattr(command.nested_kubernetes, field) == value


@pytest.mark.proves(
    "appdef",
    "AppDef versions from 2 on are accepted; so are the old spelling of `nested_kubernetes` (but not both), flags"
    " as strings, full Kubernetes versions, and a URL below a path",
)
def test_the_old_spelling_is_the_same_key() -> None:
    command = a_command()
    command["nestedkubernetes"] = command.pop("nested_kubernetes")
    parsed = parse_appdef(an_appdef(commands={"Hello": command}))
    assert parsed == parse_appdef(an_appdef())


def test_the_order_of_commands_is_the_authors() -> None:
    keys = ["Z", "A", "M"]
    assert list(parse_appdef(an_appdef(commands={key: a_command() for key in keys})).commands) == keys


def test_choosing_a_command() -> None:
    one = parse_appdef(an_appdef())
    two = parse_appdef(an_appdef(commands={"A": a_command(), "B": a_command(name="b")}))
    assert (one.choose_command(None)[0], two.choose_command("B")[0]) == ("Hello", "B")
    with pytest.raises(InvalidInputError, match=r"application\.command: choose one of A, B"):
        two.choose_command("")
    with pytest.raises(UnknownAppError, match="'C' is not a command"):
        two.choose_command("C")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PLACES: list[tuple[str | int, ...]] = [
    *((key,) for key in an_appdef()),
    ("walltime",),
    ("commands", "Hello"),
    *(("commands", "Hello", key) for key in (*a_command(), "machines", "walltime", "interactive", "url")),
    *(
        ("commands", "Hello", "nested_kubernetes", key)
        for key in (
            "targets",
            "templates",
            "templates_settings",
            "limit_range",
            "keycloak",
            "kubernetes_version",
            "enable_gotty_shell",
            "ingress_type",
        )
    ),
    ("commands", "Hello", "nested_kubernetes", "targets", 0),
    ("commands", "Hello", "nested_kubernetes", "templates", 0),
    *(("commands", "Hello", "nested_kubernetes", "templates", 0, key) for key in ("path", "format", "cmd", "retry")),
]


@given(st.sampled_from(PLACES), JSON)
def test_anything_anywhere_is_read_or_refused_by_our_own_error(place: tuple[str | int, ...], value: Any) -> None:
    appdef = json.loads(json.dumps(an_appdef()))
    node: Any = appdef
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    with contextlib.suppress(InvalidInputError):
        parse_appdef(appdef)


@pytest.mark.proves("security", "any key, JSON or bytes")
@given(JSON)
def test_any_json_at_all(data: Any) -> None:
    with pytest.raises(InvalidInputError):
        parse_appdef(data)


# --- LimitRange items


@pytest.mark.proves(
    "appdef",
    "`limit_range` of the AppDef replaces the site's; one that keeps out kns's own pods is refused",
)
@pytest.mark.parametrize(
    "form",
    [
        {"default": {"cpu": 1}, "default_request": {"cpu": "200m"}},
        {"default": {"cpu": 1}, "defaultRequest": {"cpu": "200m"}},
        [{"default": {"cpu": "1"}, "default_request": {"cpu": "200m"}, "type": "Container"}],
        b64(json.dumps({"default": {"cpu": 1}, "default_request": {"cpu": "200m"}})),
        b64(json.dumps([{"default": {"cpu": 1}, "defaultRequest": {"cpu": "200m"}}])),
    ],
    ids=["snake", "camel", "list", "base64", "base64 of a list"],
)
def test_every_form_of_a_limit_range_is_the_same(form: Any) -> None:
    (item,) = parse_limit_range(form)
    assert (item.type, item.default, item.default_request) == ("Container", {"cpu": "1"}, {"cpu": "200m"})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("words", "is neither a JSON object nor JSON in base64"),
        (b64("words"), "is neither a JSON object nor JSON in base64"),
        (b64(b"\xff\xfe\xfa"), "is neither a JSON object nor JSON in base64"),
        (b64("[" * 10_000), "is neither a JSON object nor JSON in base64"),
        ([], "must contain at least one item"),
        ([{}] * 11, "must contain at most 10 items"),
        (b64(str([{}] * 11)), "must contain at most 10 items"),
        ("A" * 16_385, "must have at most 16384 characters in base64"),
        (None, "must be a JSON object"),
        ([{}, 5], r"\[1\]: must be a JSON object"),
        ([{"default": {"cpu": "many"}}], r"\[0\]\.default\.cpu: 'many' is not a quantity"),
        ({"default": {"cpu": 1}, "default_request": {"cpu": 2}}, "default_request.cpu 2 is above default 1"),
        ({"min": {"cpu": 2}, "max": {"cpu": 1}}, "min.cpu 2 is above max 1"),
        ({"default": {"cpu": 2}, "max": {"cpu": 1}}, "default.cpu 2 is above max 1"),
        ({"min": {"cpu": 2}, "default_request": {"cpu": 1}}, "min.cpu 2 is above default_request 1"),
        ({"type": "Pod", "default": {"cpu": 1}}, "only for type Container"),
        ({"type": "Node"}, "type: Input should be 'Container'"),
        ({"maximum": {}}, "maximum: Extra inputs"),
    ],
)
def test_a_limit_range_that_kubernetes_would_refuse_later(data: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        parse_limit_range(data)
