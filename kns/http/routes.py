"""
A route and all that is known about it, declared at its function: path, parameters, answer, errors.

FastAPI serves it, the error handlers read its table, and OpenAPI describes it, all from this one declaration.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import APIRouter

from kns.http.answers import JSON
from kns.http.errors import ErrorResponse, ErrorTable, Explained, find_row
from kns.http.schemas import STRING, Schema
from kns.model.errors import KnsError

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])
Expected = ErrorResponse | type[KnsError]

GET, POST = ("get",), ("post",)
BOTH = ("get", "post")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`kind` is the schema of its value. A GET has it in the query, a POST in the query, a form or a JSON object."""

    name: str
    about: str
    kind: Schema = field(default_factory=lambda: STRING)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    How a route authenticates: the `security` of OpenAPI, the parameters that hold credentials, and the errors.
    """

    security: tuple[dict[str, list[str]], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[Expected, ...] = ()


OPEN = Credentials()


@dataclass(frozen=True, slots=True)
class Route:
    """
    `answer` is the schema of success, None for a route that always answers an error. `body` is the schema of a JSON
    body that does not hold parameters. `errors` are the errors that it answers, as responses or as classes of the
    table; `rows` are the rows of the table that this route replaces, and count as answered.
    """

    path: str
    about: str = ""
    answer: Schema | None = None
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    methods: tuple[str, ...] = BOTH
    media: str = JSON
    credentials: Credentials = OPEN
    body: Schema | None = None
    errors: tuple[Expected, ...] = ()
    rows: ErrorTable = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Declared:
    """A route with its complete error table."""

    route: Route
    errors: ErrorTable

    @property
    def rows(self) -> tuple[ErrorResponse | Explained, ...]:
        """
        Every row that the route declares, with those of its credentials.

        Raises:
            ValueError: the table has no row for a declared class.
        """
        declared = (*self.route.errors, *self.route.rows, *self.route.credentials.errors)
        return tuple(self._row(each) for each in declared)

    def _row(self, expected: Expected) -> ErrorResponse | Explained:
        row = expected if isinstance(expected, ErrorResponse) else find_row(self.errors, expected)
        if row is None:
            raise ValueError(f"route {self.route.path}: the error table has no row for {expected}")
        return row


class Routes:
    """A group of routes that share an error table."""

    def __init__(self, errors: ErrorTable) -> None:
        self.router = APIRouter()
        self.declared: list[Declared] = []
        self.tables: dict[Callable[..., Any], ErrorTable] = {}
        self._endpoints: list[tuple[Callable[..., Any], str]] = []
        self._errors = errors

    def add(self, route: Route) -> Callable[[EndpointT], EndpointT]:
        """A decorator: the function serves this route."""

        def register(endpoint: EndpointT) -> EndpointT:
            table = {**self._errors, **route.rows}
            self.declared.append(Declared(route, table))
            self.tables[endpoint] = table
            self._endpoints.append((endpoint, route.path))
            self.router.add_api_route(f"/{route.path}", endpoint, methods=[method.upper() for method in route.methods])
            return endpoint

        return register

    def add_relay(self, path: str, methods: tuple[str, ...]) -> Callable[[EndpointT], EndpointT]:
        """A decorator: the function passes these methods on to something that OpenAPI does not describe."""

        def register(endpoint: EndpointT) -> EndpointT:
            self.tables[endpoint] = self._errors
            self._endpoints.append((endpoint, path))
            names = [method.upper() for method in methods]
            self.router.add_api_route(f"/{path}", endpoint, methods=names, include_in_schema=False)
            return endpoint

        return register

    def list_paths(self, prefix: str) -> list[tuple[Callable[..., Any], str]]:
        """The function and the path of each route, below `prefix`."""
        return [(endpoint, f"{prefix}/{path}") for endpoint, path in self._endpoints]
