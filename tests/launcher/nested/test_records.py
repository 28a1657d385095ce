"""How a record and its job of kns name each other."""

import pytest

from kns.launcher.nested.records import read_job_id, read_number
from kns.plain import names


@pytest.mark.parametrize("text", ["", "seven", "-7", "٧", "7" * 5000])
def test_a_number_that_somebody_has_changed_is_none(text: str) -> None:
    record = {"metadata": {"name": "x", "annotations": {names.NESTED: text}}}
    assert read_number(record) is None


@pytest.mark.parametrize("label", ["posit-1", "posit-1 ", "posit-1 ../../secrets", "posit-1 a b", "posit-1 A"])
def test_a_label_that_names_no_record_makes_no_path(label: str) -> None:
    assert read_job_id(label) == ""
