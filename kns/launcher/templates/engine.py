"""
The Go template language with Sprig's and Helm's functions: the only door to gotpl.

Every rendering has a deadline and bounds. gotpl reads its budget before each call, iteration, template and output, so
the budget is where the deadline is checked.
"""

import contextlib
import functools
import html
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

import gotpl
from gotpl.exts.helm import HelmExtension

from kns.launcher.config.groups import Groups
from kns.launcher.templates import limits
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.programs import ExecResult, run_program
from kns.launcher.templates.user_text import QuotedText, UserText, find_masks, mark, plain
from kns.launcher.templates.yaml_text import YamlError, read_yaml, write_json, write_yaml

Function = Callable[..., Any]

# Their results are quoted, or are no longer what the user wrote.
_QUOTING = frozenset(
    {"toYaml", "mustToYaml", "toYamlPretty", "toJson", "mustToJson", "toPrettyJson", "mustToPrettyJson", "toRawJson",
     "mustToRawJson", "quote", "squote", "b64enc", "b32enc", "sha1sum", "sha256sum", "sha512sum", "adler32sum"}
)  # fmt: skip
# They undo the functions above.
_DECODING = frozenset(
    {"fromYaml", "mustFromYaml", "fromYamlArray", "fromJson", "mustFromJson", "fromJsonArray", "fromToml", "b64dec",
     "b32dec"}
)  # fmt: skip
# Functions that make much from one number, and the positions of their numbers; -1 means all.
_AMPLIFYING: Mapping[str, Sequence[int]] = {
    "repeat": (0,), "indent": (0,), "nindent": (0,), "until": (0,), "untilStep": (0, 1, 2), "seq": (-1,),
    "randAlpha": (0,), "randAlphaNum": (0,), "randAscii": (0,), "randNumeric": (0,), "randBytes": (0,),
}  # fmt: skip
_BUILT_IN = ("print", "println", "printf")  # Go's own, which write values as the output does
_WIDE = re.compile(r"%[^a-zA-Z%]*(?:\d{4,}|\*)")  # a width or a precision above 999, or one from an argument
_ENTRIES = frozenset({"job.tpl", "service.tpl"})

_deadline: ContextVar[float] = ContextVar("deadline")


class _Timeout(gotpl.TemplateExecutionError):
    pass


@dataclass(frozen=True, slots=True)
class _Budget:
    """Stands in for `gotpl.ExecutionBudget`. Reading a limit checks the deadline of the rendering as well."""

    clock: Callable[[], float]

    def _check(self) -> None:
        if self.clock() > _deadline.get():
            raise _Timeout(f"rendering takes longer than {limits.RENDER_S:g} s")

    @property
    def max_output_chars(self) -> int:
        self._check()
        return limits.MAX_OUTPUT

    @property
    def max_iterations(self) -> int:
        self._check()
        return limits.MAX_ITERATIONS

    @property
    def max_function_calls(self) -> int:
        self._check()
        return limits.MAX_CALLS

    @property
    def max_template_depth(self) -> int:
        self._check()
        return limits.MAX_DEPTH


class Engine:
    """
    Compiled templates. Safe for several threads.

    Raises:
        TemplateError: a template is not valid: its syntax, or a function that does not exist.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        folder: Path,
        groups: Groups,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._folder = folder
        self._groups = groups
        environment = gotpl.Environment(
            functions=self._build_functions(),
            missing_key="zero",
            budget=cast(gotpl.ExecutionBudget, _Budget(clock)),
        )
        self._templates = _compile(environment, sources)

    def render(self, name: str, data: Mapping[str, Any], *, limit_s: float = limits.RENDER_S) -> str:
        """
        Render the template `name`. A missing value prints nothing, as in Helm.

        Raises:
            TemplateError: the template fails, takes too long, or makes too much.
        """
        token = _deadline.set(self._clock() + limit_s)
        try:
            with _translate(name):
                return self._templates.render_template(name, data).replace("<no value>", "")
        finally:
            _deadline.reset(token)

    def _build_functions(self) -> dict[str, Function]:
        given = dict(HelmExtension().functions)
        given |= {
            "toYaml": write_yaml,
            "mustToYaml": write_yaml,
            "toYamlPretty": write_yaml,
            "fromYaml": _from_yaml,
            "fromYamlArray": _from_yaml_array,
            "toJson": write_json,
            "mustToJson": write_json,
            "toRawJson": lambda value: write_json(value, escape_html=False),
            "mustToRawJson": lambda value: write_json(value, escape_html=False),
            "toPrettyJson": lambda value: write_json(value, indent=2),
            "mustToPrettyJson": lambda value: write_json(value, indent=2),
            "quote": _quote,
            "squote": _quote,
            "groups": self._list_groups,
            "exec": self._exec,
            "env": lambda name: os.environ.get(plain(name), ""),
            "expandenv": lambda text: os.path.expandvars(plain(text)),
            "html": lambda *values: html.escape(_print("print", *values)),
            "urlquery": lambda *values: quote_plus(_print("print", *values)),
        }
        given |= {name: functools.partial(_print, name) for name in _BUILT_IN}
        wrapped: dict[str, Function] = {
            name: function if isinstance(function, gotpl.ContextFunction) else _bound(name, function)
            for name, function in given.items()
        }
        wrapped["include"] = gotpl.ContextFunction(sync=_include)
        wrapped["tpl"] = gotpl.ContextFunction(sync=_tpl)
        return wrapped

    def _list_groups(self, user: str) -> list[str]:
        return list(self._groups(plain(user)))

    def _exec(self, *arguments: object) -> ExecResult:
        left_s = _deadline.get() - self._clock()
        texts = [str(plain(argument)) for argument in arguments]
        return run_program(texts, folder=self._folder, limit_s=min(limits.EXEC_S, left_s), clock=self._clock)


def _compile(environment: gotpl.Environment, sources: Mapping[str, str]) -> gotpl.TemplateEngine:
    try:
        return environment.from_sources(sources)
    except (gotpl.TemplateError, RecursionError):  # the error does not say which template it is
        for name, source in sources.items():
            with _translate(name):
                environment.from_string(source, name=name)
        with _translate(next(iter(sources))):
            raise


@contextlib.contextmanager
def _translate(name: str) -> Iterator[None]:
    """gotpl's errors as ours, with the innermost place that it knows."""
    try:
        yield
    except gotpl.TemplateSyntaxError as error:
        raise TemplateError(name, error.line, _said(error)) from error
    except gotpl.TemplateExecutionError as error:
        raise TemplateError(error.source_name or name, error.line or 0, error.message) from error
    except gotpl.TemplateError as error:
        raise TemplateError(name, 0, str(error)) from error
    except RecursionError as error:
        raise TemplateError(name, 0, "is nested too deeply") from error
    except MemoryError as error:
        raise TemplateError(name, 0, "needs more memory than there is") from error


def _said(error: gotpl.TemplateSyntaxError) -> str:
    return re.sub(r"^template:\d+:\d+: ", "", str(error))


def _bound(name: str, function: Function) -> Function:
    """
    A function whose numbers and results are bounded, and whose result is a user's text if an argument is one.

    Lists are copied for the call, objects are not: `set` changes its argument.
    """

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        for position in _AMPLIFYING.get(name, ()):
            _check_numbers(name, arguments if position < 0 else arguments[position : position + 1])
        masks = None if name in _QUOTING else find_masks(arguments)
        origin = masks or find_masks(arguments, quoted=True)
        result = function(*map(plain, arguments))
        if isinstance(result, str) and len(result) > limits.MAX_OUTPUT:
            raise ValueError(f"makes a text of more than {limits.MAX_OUTPUT} characters")
        if origin is None or any(result is argument for argument in arguments):
            return result
        kind: type[UserText | QuotedText] = QuotedText if masks is None and name not in _DECODING else UserText
        return mark(result, origin, kind=kind) if isinstance(result, (str, list, tuple, dict)) else result

    return call


def _check_numbers(name: str, arguments: Sequence[Any]) -> None:
    for argument in arguments:
        with contextlib.suppress(TypeError, ValueError):
            if abs(float(argument)) > limits.MAX_NUMBER:
                raise gotpl.TemplateExecutionError(f"{name} of {argument!s:.40} is more than {limits.MAX_NUMBER}")


def _include(context: gotpl.RenderContext, name: object, data: object = None) -> str:
    text = str(plain(name))
    if text in _ENTRIES:
        raise gotpl.TemplateExecutionError(f"{text} cannot be included; put the common part into a file of its own")
    if "/" in text or "\\" in text or text.startswith("."):
        raise gotpl.TemplateExecutionError(f"include of {text!r:.80}: only files in the scratch folder can be included")
    made, masks = _captured(context.render_template(text, data)), find_masks([data])
    return made if masks is None else QuotedText(made, masks)


def _tpl(context: gotpl.RenderContext, source: object, data: object = None) -> str:
    if find_masks([source], quoted=True) is not None:
        raise gotpl.TemplateExecutionError("tpl of a user's text would let the user write the template")
    return _captured(context.render_source(str(source), data, name="tpl"))


def _captured(text: str) -> str:
    if len(text) > limits.MAX_OUTPUT:
        raise gotpl.TemplateExecutionError(f"makes a text of more than {limits.MAX_OUTPUT} characters")
    return text.replace("<no value>", "")


def _print(name: str, *values: Any) -> str:
    """Go's `print`, `println` and `printf`, with what a user wrote instead of its mask."""
    if name == "printf" and values and _WIDE.search(str(plain(values[0]))):
        raise ValueError("a width of more than 999, or one from an argument, is not allowed")
    template = _print_template(name, len(values))
    return template.render({f"v{position}": _plain_deep(value) for position, value in enumerate(values)})


@functools.cache
def _print_template(name: str, count: int) -> gotpl.Template:
    return gotpl.Template("{{ " + " ".join([name, *(f".v{position}" for position in range(count))]) + " }}")


def _plain_deep(value: Any, depth: int = 0) -> Any:
    if isinstance(value, UserText) or depth > limits.MAX_DEPTH:
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): _plain_deep(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_deep(item, depth + 1) for item in value]
    return value


def _quote(*values: Any) -> str:
    """YAML's double quotes for both of Sprig's functions: single quotes cannot hold every text in one line."""
    texts = [_print("print", value) for value in values if value is not None]
    return " ".join(write_quoted(text) for text in texts)


def write_quoted(text: str) -> str:
    """
    A text in double quotes.

    >>> print(write_quoted('a"b'))
    "a\\"b"
    """
    return '"' + write_yaml(f"<{text}")[2:]


def _from_yaml(text: str) -> dict[str, Any]:
    try:
        value = read_yaml(text)
    except YamlError as error:
        return {"Error": error.said}
    return value if isinstance(value, dict) else {}


def _from_yaml_array(text: str) -> list[Any]:
    try:
        value = read_yaml(text)
    except YamlError as error:
        return [error.said]
    return value if isinstance(value, list) else []
