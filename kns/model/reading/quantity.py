"""
Kubernetes resource quantities as exact numbers.

It reads every quantity that the API server accepts in LimitRange and quota values, adds quantities, and writes them.
Arithmetic uses `Decimal`, so no digit is lost.
"""

import re
from decimal import Decimal

from kns.model.errors import InvalidInputError

_SUFFIX = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_FORM = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:(n|u|m|k|[MGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?"
)


def parse_quantity(text: str | int | float, *, path: str = "") -> Decimal:
    """
    The value of a quantity as a number.

    Raises:
        InvalidInputError: at `path`, because `text` is not a non-negative quantity.

    >>> parse_quantity("200m"), parse_quantity("1Gi"), parse_quantity(2)
    (Decimal('0.200'), Decimal('1073741824'), Decimal('2'))
    """
    match = _FORM.fullmatch(str(text))
    if isinstance(text, bool) or match is None:
        raise InvalidInputError(path, f"{text!r} is not a quantity; write it like 500m, 2 or 4Gi")
    number, suffix, exponent = match.groups()
    scale = _SUFFIX[suffix or ""] if exponent is None else Decimal(10) ** int(exponent)
    return Decimal(number) * scale


def format_quantity(number: Decimal) -> str:
    """
    A quantity as text: a whole number without suffix, any other number rounded up to thousandths (`200m`).

    >>> format_quantity(Decimal("0.2")), format_quantity(Decimal("1073741824")), format_quantity(Decimal("2.110"))
    ('200m', '1073741824', '2110m')
    """
    if number == number.to_integral_value():
        return str(int(number))
    millis = (number * 1000).to_integral_value(rounding="ROUND_CEILING")
    return f"{int(millis)}m"


def add_quantities(*texts: str | int) -> str:
    """
    The sum of quantities, as a quantity.

    >>> add_quantities("2", "110m"), add_quantities("1Gi", "1Mi")
    ('2110m', '1074790400')
    """
    return format_quantity(sum((parse_quantity(t) for t in texts), Decimal(0)))
