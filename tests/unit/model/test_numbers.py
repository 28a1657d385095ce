"""Quantities and walltimes: written values are read back, invalid ones are refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.errors import InvalidInputError
from kns.model.reading.duration import format_walltime, parse_walltime
from kns.model.reading.quantity import add_quantities, format_quantity, parse_quantity

MILLIS = st.integers(0, 10**15)


@given(MILLIS)
def test_a_quantity_reads_back(millis: int) -> None:
    number = Decimal(millis) / 1000
    assert parse_quantity(format_quantity(number)) == number


@given(st.decimals(0, 10**9, allow_nan=False, places=9))
def test_what_is_finer_than_a_thousandth_is_rounded_up(number: Decimal) -> None:
    """Never down: a quota must not lose what its pods ask for."""
    written = parse_quantity(format_quantity(number))
    assert number <= written < number + Decimal("0.001")


@given(st.lists(MILLIS, max_size=5))
def test_quantities_add_up(parts: list[int]) -> None:
    total = add_quantities(*(f"{part}m" for part in parts))
    assert parse_quantity(total) == Decimal(sum(parts)) / 1000


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        (2, "2"),
        (0.5, "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("100n", "0.0000001"),
        ("7u", "0.000007"),
        ("250m", "0.25"),
        ("3k", "3000"),
        ("3Ki", "3072"),
        ("1Mi", "1048576"),
        ("1Ei", "1152921504606846976"),
        ("2E", "2000000000000000000"),
        ("1e3", "1000"),
        ("1E-2", "0.01"),
    ],
)
def test_every_form_that_kubernetes_reads(text: str | int | float, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1 Gi", "1GB", "Gi", "1mi", "nan", "inf", "1e", "1e1000", True, "\u0661"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"default\.cpu: .* is not a quantity"):
        parse_quantity(text, path="default.cpu")


@given(st.integers(1, 99_999 * 3600 + 3599))
def test_a_walltime_reads_back(seconds: int) -> None:
    assert parse_walltime(format_walltime(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:00", "00:60:00", "00:00:60", "1h", "-1:00:00", "00:00:00", "1:0:0", " 01:00:00"]
)
def test_what_is_no_walltime(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^walltime: "):
        parse_walltime(text, path="walltime")


def test_a_time_that_is_over_shows_as_zero() -> None:
    assert format_walltime(-5) == "00:00:00"
