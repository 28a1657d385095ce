"""The OpenAPI documents have exactly the routes that are served and the texts that are used."""

import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from kns.api.jarvice import errors
from kns.api.jarvice.document import describe_api
from kns.api.kns import errors as own_errors
from kns.api.kns.document import describe_api as describe_own_api
from kns.http import errors as shared
from kns.http.errors import ErrorResponse
from tests.api.client import VERSION, Api

UNDESCRIBED = {shared.WRONG_METHOD}  # the framework's answer to what no operation describes


DOCUMENTS = pytest.mark.parametrize("describe", [describe_api, describe_own_api], ids=["jarvice", "kns"])
Describe = Callable[[], dict[str, Any]]


def _described() -> set[tuple[str, str]]:
    paths = {**describe_api()["paths"], **describe_own_api()["paths"]}
    return {(method, path) for path, item in paths.items() for method in item}


def _served(api: Api) -> set[tuple[str, str]]:
    """From the framework's own generator, so that the test does not depend on its classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # GET and POST of one function share an operation's name
        paths = api.app.openapi()["paths"]
    return {(method, path) for path, item in paths.items() for method in item}


def test_the_document_has_exactly_the_served_routes(api: Api) -> None:
    assert _described() == _served(api)


@pytest.mark.parametrize(("prefix", "describe"), [("jarvice", describe_api), ("kns", describe_own_api)])
def test_the_document_is_served_with_the_version_and_to_everybody(api: Api, prefix: str, describe: Describe) -> None:
    answer = api.call("GET", f"/{prefix}/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert document.pop("info") == {**describe()["info"], "version": VERSION}
    assert document == {key: value for key, value in describe().items() if key != "info"}
    assert api.call("POST", f"/{prefix}/openapi.json").status_code == 405


def _texts(schema: Any) -> Iterator[str]:
    """Every fixed text inside a schema of an error."""
    for choice in schema.get("anyOf", [schema]):
        yield from choice.get("enum", [])


@pytest.mark.proves(
    "wire",
    "Published texts about containers, images, queues of other kinds and the portal's own database are never "
    "sent, because kns has none of these cases",
)
def test_every_text_of_an_error_is_in_a_table_and_every_row_is_told() -> None:
    assert _told(describe_api) == _rows(errors) | (_rows(shared) - UNDESCRIBED)
    assert _told(describe_own_api) <= _rows(own_errors) | _rows(shared)


def _told(describe: Describe) -> set[ErrorResponse]:
    return {
        ErrorResponse(int(status), text)
        for item in describe()["paths"].values()
        for operation in item.values()
        for status, answer in operation["responses"].items()
        if status != "200"
        for text in _texts(answer["content"]["application/json"]["schema"]["properties"]["error"])
    }


def _rows(module: ModuleType) -> set[ErrorResponse]:
    """Every error response of a module: its constants, and the rows of its tables."""
    constants = list(vars(module).values())
    tables = [row for table in constants if isinstance(table, dict) for row in table.values()]
    return {each for each in (*constants, *tables) if isinstance(each, ErrorResponse)}


@DOCUMENTS
def test_names_of_operations_are_unique_and_references_lead_somewhere(describe: Describe) -> None:
    document = describe()
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(_references(document)) == names


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _schemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _schemas(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _schemas(inner)


@DOCUMENTS
def test_every_object_says_whether_it_is_open(describe: Describe) -> None:
    """Without the statement, generated Go clients refuse an answer with an unknown key."""
    found = [each for each in _schemas(describe()) if "properties" in each and "object" in each.get("type", ())]
    assert len(found) > 10
    assert [each for each in found if "additionalProperties" not in each] == []


def test_a_post_of_parameters_is_described_as_one_form() -> None:
    """With two kinds, a generated client takes its arguments from one, names the other, and sends nothing."""
    kinds = {
        path: list(item["post"]["requestBody"]["content"])
        for path, item in describe_api()["paths"].items()
        if "requestBody" in item.get("post", {})
    }
    for route in ("submit", "batch", "validate"):
        assert kinds.pop(f"/jarvice/{route}") == ["application/json"]
    assert len(kinds) > 15
    assert {path for path, content in kinds.items() if content != ["application/x-www-form-urlencoded"]} == set()


@DOCUMENTS
def test_the_document_has_nothing_that_generators_stumble_over(describe: Describe) -> None:
    """No arrays without `items`, and no choices that differ only in their case."""
    for schema in _schemas(describe()):
        if schema.get("type") == "array":
            assert "items" in schema or "prefixItems" in schema, schema
        names = [str(choice).upper() for choice in schema.get("enum", ())]
        assert len(names) == len(set(names)), schema
