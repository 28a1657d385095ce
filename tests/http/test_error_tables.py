"""Tables from errors to answers: how a row is found, and that every route of every front end has its rows."""

from itertools import chain, product

import pytest

from kns.api import jarvice, kns, upstream
from kns.http import probes
from kns.http.errors import COMMON_ERRORS, ErrorResponse, ErrorTable, Explained, build_response
from kns.http.routes import Route, Routes
from kns.model.errors import InvalidInputError, KnsError, UnavailableError
from kns.service import errors
from kns.service.errors import (
    JobGoneError,
    NotEndedError,
    ServiceError,
    TooManyRequestsError,
    UnknownJobError,
)

TABLE: ErrorTable = {
    **COMMON_ERRORS,
    UnknownJobError: ErrorResponse(404, "no such job"),
    InvalidInputError: Explained(400, "malformed"),
}


@pytest.mark.parametrize(
    ("error", "response"),
    [
        (UnknownJobError("x"), ErrorResponse(404, "no such job")),
        (JobGoneError("x"), ErrorResponse(404, "no such job")),  # by its parent
        (InvalidInputError("a.b", "is\nwrong"), ErrorResponse(400, "malformed: a.b: is wrong")),
        (TooManyRequestsError(2.1), ErrorResponse(429, "Too many requests", retry_after_s=3)),
        (UnavailableError("x"), ErrorResponse(503, "not ready")),
        (NotEndedError("x"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_gets_the_answer_of_its_row(error: KnsError, response: ErrorResponse | None) -> None:
    assert build_response(TABLE, error) == response


def test_a_row_without_a_prefix_gives_the_errors_own_text() -> None:
    assert Explained(400).explain(InvalidInputError("a", "is wrong")) == ErrorResponse(400, "a: is wrong")


def test_a_route_that_declares_an_error_without_a_row_is_found_out() -> None:
    routes = Routes(TABLE)
    routes.add(Route("x", errors=(NotEndedError,)))(lambda: None)
    with pytest.raises(ValueError, match="route x: the error table has no row for"):
        _ = routes.declared[0].rows


FRONT_ENDS = {
    "jarvice": jarvice.FRONT_END.routes,
    "kns": kns.FRONT_END.routes,
    "upstream": upstream.build_front_end("up:key").routes,
}
RAISED = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ServiceError) and each is not ServiceError
]
# What no use case of a front end raises. Clients of kns submit by the public API. The server key is checked before the
# table, and upstream has no users whose rights or accounts could be wanting.
NEVER = {
    "jarvice": {"CannotSleepError", "NameTakenError", "NotOfferedError"},
    "kns": {"NameTakenError", "NotOfferedError", "NotStoredError", "TooManyJobsError"},
    "upstream": {
        "CannotSleepError",
        "NotOfferedError",
        "WrongCredentialsError",
        "NotPermittedError",
        "InactiveAccountError",
        "TooManyJobsError",
    },
}


@pytest.mark.parametrize(("front_end", "error"), list(product(FRONT_ENDS, RAISED)))
def test_every_error_of_the_use_cases_has_a_row_in_every_front_end(front_end: str, error: type[ServiceError]) -> None:
    """At least at one route: `submit` has some rows of its own."""
    if error.__name__ in NEVER[front_end]:
        return
    tables = [declared.errors for routes in FRONT_ENDS[front_end] for declared in routes.declared]
    made = TooManyRequestsError(1) if error is TooManyRequestsError else error("x")
    assert any(build_response(table, made) is not None for table in tables)


def test_every_declared_route_has_rows_for_what_it_declares() -> None:
    for routes in (*chain(*FRONT_ENDS.values()), probes.routes):
        for declared in routes.declared:
            assert all(row.status >= 400 for row in declared.rows)
