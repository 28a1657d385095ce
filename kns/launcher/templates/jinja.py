"""
Templates in Jinja2, for sites that prefer it: `job.j2` and `service.j2` take the place of the `.tpl` files.

The only door to jinja2. Users' texts are masked as in `user_text`, and a rendering has the same bounds.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jinja2
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from kns.launcher.config.groups import Groups
from kns.launcher.templates import limits
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.programs import ExecResult, run_program
from kns.launcher.templates.user_text import UserText, find_masks, mark, plain
from kns.launcher.templates.yaml_text import write_json, write_yaml
from kns.model.errors import UnavailableError

_QUOTING = frozenset({"to_yaml", "to_json", "tojson", "urlencode", "length", "count", "int", "float"})
_deadline: ContextVar[float] = ContextVar("deadline")


class JinjaEngine:
    """
    Compiled templates. Safe for several threads.

    Raises:
        TemplateError: a template is not valid.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        folder: Path,
        groups: Groups,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._groups = groups
        self._clock = clock
        self._environment = _Environment(
            loader=jinja2.DictLoader(dict(sources)),
            undefined=jinja2.ChainableUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # the result is YAML, whose texts are masked
        )
        self._environment.filters |= {"to_yaml": write_yaml, "to_json": write_json, "tojson": write_json}
        self._environment.filters = {
            name: _marking(name, function) for name, function in self._environment.filters.items()
        }
        self._environment.globals |= {"exec": self._exec, "groups": self._list_groups, "range": self._range}
        for name in sources:
            with _translate(name):
                self._environment.get_template(name)

    def render(self, name: str, data: Mapping[str, Any], *, limit_s: float = limits.RENDER_S) -> str:
        """
        Render a template. A missing value prints nothing.

        Raises:
            TemplateError: the template fails, takes too long, or makes too much.
        """
        token = _deadline.set(self._clock() + limit_s)
        try:
            with _translate(name):
                return self._collect(name, data)
        finally:
            _deadline.reset(token)

    def _collect(self, name: str, data: Mapping[str, Any]) -> str:
        parts, size = [], 0
        for part in self._environment.get_template(name).generate(data):
            self._check_time()
            size += len(part)
            if size > limits.MAX_OUTPUT:
                raise jinja2.TemplateRuntimeError(f"makes more than {limits.MAX_OUTPUT} characters")
            parts.append(part)
        return "".join(parts)

    def _check_time(self) -> None:
        if self._clock() > _deadline.get():
            raise jinja2.TemplateRuntimeError(f"rendering takes longer than {limits.RENDER_S:g} s")

    def _range(self, *arguments: int) -> range:
        self._check_time()
        made = range(*arguments)
        if len(made) > limits.MAX_NUMBER:
            raise jinja2.TemplateRuntimeError(f"range of more than {limits.MAX_NUMBER}")
        return made

    def _list_groups(self, user: str) -> list[str]:
        return list(self._groups(plain(user)))

    def _exec(self, *arguments: object) -> ExecResult:
        left_s = _deadline.get() - self._clock()
        texts = [str(plain(argument)) for argument in arguments]
        return run_program(texts, folder=self._folder, limit_s=min(limits.EXEC_S, left_s), clock=self._clock)


class _Environment(SandboxedEnvironment):
    """Results computed from a user's text are users' texts, and have a bounded size."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for one, other in ((left, right), (right, left)):
            size = len(one) if isinstance(one, (str, list, tuple)) else 1
            if operator in ("*", "**") and isinstance(other, int) and abs(other) * size > limits.MAX_OUTPUT:
                raise jinja2.TemplateRuntimeError(f"{operator} makes more than {limits.MAX_OUTPUT} characters")
        return _mark_like((left, right), super().call_binop(context, operator, plain(left), plain(right)))

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        return _mark_like((obj,), found) if isinstance(obj, UserText) else found

    def call(self, context: Context, obj: Any, *arguments: Any, **named: Any) -> Any:
        """Only methods of values: a macro prints by itself."""
        made = super().call(context, obj, *arguments, **named)
        owner = getattr(obj, "__self__", None)
        return _mark_like((owner, arguments), made) if isinstance(owner, str) else made


def _marking(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        made = function(*map(plain, arguments), **named)
        if isinstance(made, str) and len(made) > limits.MAX_OUTPUT:
            raise jinja2.TemplateRuntimeError(f"{name} makes more than {limits.MAX_OUTPUT} characters")
        if name in _QUOTING or any(made is argument for argument in arguments):
            return made
        if isinstance(made, Iterator):  # `map`, `select` and others are lazy
            made = list(made)
        return _mark_like((arguments, tuple(named.values())), made)

    return call


def _mark_like(given: Sequence[Any], made: Any) -> Any:
    masks = find_masks(list(given))
    return made if masks is None or not isinstance(made, (str, list, tuple, dict)) else mark(made, masks)


@contextlib.contextmanager
def _translate(name: str) -> Iterator[None]:
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(error.name or name, error.lineno, error.message or "is not valid") from error
    except jinja2.TemplateNotFound as error:
        raise TemplateError(name, 0, f"{error.message} is not in the scratch folder") from error
    except jinja2.TemplateError as error:
        raise TemplateError(name, 0, error.message or type(error).__name__) from error
    except UnavailableError as error:  # of `groups`
        raise TemplateError(name, 0, str(error)) from error
    except RecursionError as error:
        raise TemplateError(name, 0, "is nested too deeply") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError) as error:
        raise TemplateError(name, 0, f"failed: {error}") from error
