"""Each error of pydantic becomes one problem with the key path of the document, without pydantic's own names."""

from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from kns.model.errors import InvalidInputError
from kns.model.reading.parsing import check_model, parse_model


class _Leaf(BaseModel):
    n: int


class _Tree(BaseModel):
    either: bool | dict[str, int] | None = None
    leaf: _Leaf | None = None
    leaves: dict[str, _Leaf] | list[_Leaf] = {}
    pair: tuple[int, ...] = ()
    new: _Leaf | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_old_spelling(cls, data: Any) -> Any:
        return {**data, "new": data["old"]} if "old" in data else data


ROWS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    (
        {"either": 5},
        ["either: Input should be a valid boolean, unable to interpret input; or: Input should be a valid dictionary"],
    ),
    ({"leaf": {}}, ["leaf.n: Field required"]),
    ({"leaf": {"n": "x"}}, ["leaf.n: Input should be a valid integer, unable to parse string as an integer"]),
    (
        {"leaves": {"bool": {}, "a]": {}}},
        ["leaves.bool.n: Field required", "leaves.a].n: Field required", "leaves: Input should be a valid list"],
    ),
    ({"leaves": [{"n": 1}, {}]}, ["leaves: Input should be a valid dictionary", "leaves[1].n: Field required"]),
    ({"pair": 5}, ["pair: Input should be a valid list"]),
    (
        {"pair": [1, "x", "y"]},
        [f"pair[{i}]: Input should be a valid integer, unable to parse string as an integer" for i in (1, 2)],
    ),
    ({"old": {"n": []}}, ["new.n: Input should be a valid integer"]),
]


@pytest.mark.parametrize(("data", "faults"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_problems_have_the_key_paths_of_the_document(data: dict[str, Any], faults: list[str]) -> None:
    assert [str(problem) for problem in check_model(_Tree, data)[1]] == faults
    if faults:
        with pytest.raises(InvalidInputError) as refused:
            parse_model(_Tree, data, prefix="here")
        assert str(refused.value) == f"here.{faults[0]}"


@pytest.mark.parametrize("data", [None, [], "x", 5])
def test_what_is_no_object_is_reported_as_a_whole(data: Any) -> None:
    assert [str(problem) for problem in check_model(_Tree, data)[1]] == ["must be a JSON object"]
    with pytest.raises(InvalidInputError, match=r"^here: must be a JSON object$"):
        parse_model(_Tree, data, prefix="here")
