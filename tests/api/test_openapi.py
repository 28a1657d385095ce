"""The OpenAPI document has exactly the routes that are served and the texts that are used."""

import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from kns.api.jarvice import errors
from kns.api.jarvice.document import describe_api
from kns.http import errors as shared
from kns.http.errors import ErrorResponse
from tests.api.client import VERSION, Api

UNDESCRIBED = {shared.WRONG_METHOD}  # the framework's answer to what no operation describes


def _described() -> set[tuple[str, str]]:
    return {(method, path) for path, item in describe_api()["paths"].items() for method in item}


def _served(api: Api) -> set[tuple[str, str]]:
    """From the framework's own generator, so that the test does not depend on its classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # GET and POST of one function share an operation's name
        paths = api.app.openapi()["paths"]
    return {(method, path) for path, item in paths.items() for method in item}


def test_the_document_has_exactly_the_served_routes(api: Api) -> None:
    assert _described() == _served(api)


def test_the_document_is_served_with_the_version_and_to_everybody(api: Api) -> None:
    answer = api.call("GET", "/jarvice/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert document.pop("info") == {**describe_api()["info"], "version": VERSION}
    assert document == {key: value for key, value in describe_api().items() if key != "info"}
    assert api.call("POST", "/jarvice/openapi.json").status_code == 405


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
    told = {
        ErrorResponse(int(status), text)
        for item in describe_api()["paths"].values()
        for operation in item.values()
        for status, answer in operation["responses"].items()
        if status != "200"
        for text in _texts(answer["content"]["application/json"]["schema"]["properties"]["error"])
    }
    assert told == _rows(errors) | (_rows(shared) - UNDESCRIBED)


def _rows(module: ModuleType) -> set[ErrorResponse]:
    """Every error response of a module: its constants, and the rows of its tables."""
    constants = list(vars(module).values())
    tables = [row for table in constants if isinstance(table, dict) for row in table.values()]
    return {each for each in (*constants, *tables) if isinstance(each, ErrorResponse)}


def test_names_of_operations_are_unique_and_references_lead_somewhere() -> None:
    document = describe_api()
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


def test_every_object_says_whether_it_is_open() -> None:
    """Without the statement, generated Go clients refuse an answer with an unknown key."""
    found = [each for each in _schemas(describe_api()) if "properties" in each and "object" in each.get("type", ())]
    assert len(found) > 40
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


def test_the_document_has_nothing_that_generators_stumble_over() -> None:
    """No arrays without `items`, and no choices that differ only in their case."""
    for schema in _schemas(describe_api()):
        if schema.get("type") == "array":
            assert "items" in schema or "prefixItems" in schema, schema
        names = [str(choice).upper() for choice in schema.get("enum", ())]
        assert len(names) == len(set(names)), schema
