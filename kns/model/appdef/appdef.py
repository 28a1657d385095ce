"""
The AppDef: an app author's definition, as a checked value.

Keys that kns uses (`nested_kubernetes`, machines, walltime) are checked strictly. Unknown keys are ignored and never
refused, because published AppDefs contain keys of older systems. A command without `nested_kubernetes` is refused,
because kns runs only nested apps.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from kns.model.appdef.limit_range import MAX_ITEMS as MAX_LIMITS
from kns.model.appdef.limit_range import LimitRangeItem, parse_limit_range
from kns.model.appdef.parameter_set import Parameters
from kns.model.appdef.resources import find_limit_range_problems
from kns.model.appdef.variables import Variable, Variables
from kns.model.appdef.versions import NESTED_KEYS, read_minor
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.model.reading.duration import format_walltime, parse_walltime
from kns.model.reading.located import located_error, located_errors
from kns.model.reading.parsing import parse_model
from kns.model.reading.problem import Problem
from kns.model.reading.scalars import Flag, read_flag

DEFAULT_RETRY = 20
DEFAULT_RETRY_SLEEP_S = 15
MAX_ITEMS = 200  # the plan must fit into a ConfigMap; published apps have far fewer
MAX_TEMPLATES = 900_000  # characters in all items; the ConfigMap of the plan is limited to 1 MiB
NEVER = "never"
LEAST_IDLE_S = 30  # two scrapes of the ingress controllers; a job that wakes takes some seconds
_MAX_RETRY = 10**9  # retries or seconds; as seconds, thirty years

# The path and the query of a URI (RFC 3986), without `*`, which means any rest at the end and nothing elsewhere.
_REDIRECT_PATH = re.compile(r"/([A-Za-z0-9._~!$&'()+,;=:@/?-]|%[0-9A-Fa-f]{2})*\*?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _raise_value_error(check: Callable[[], Any]) -> Any:
    """Run `check` in a pydantic validator. pydantic collects only ValueErrors, so InvalidInputError is converted."""
    try:
        return check()
    except InvalidInputError as error:
        raise ValueError(str(error)) from error


def _check_redirect_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value):
        raise ValueError("must start with '/' and contain no spaces")
    return value


def _find_redirect_problems(paths: Iterable[str]) -> Iterator[Problem]:
    for index, path in enumerate(paths):
        if not _REDIRECT_PATH.fullmatch(path):
            message = "must be a path that a URL may have, without '#', and with '*' only at the end"
            yield Problem(("keycloak", "redirect_paths", index), message)


def _check_dns_label(value: str) -> str:
    if not _DNS_LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is not a DNS label (lower case letters, digits and '-', at most 63)")
    return value


def _check_walltime(value: str) -> str:
    _raise_value_error(lambda: parse_walltime(value))
    return value


def _check_idle_sleep(value: str) -> str:
    if value == NEVER:
        return value
    try:
        seconds = parse_walltime(value)
    except InvalidInputError as error:
        raise ValueError(f"{value!r} is neither HH:MM:SS nor {NEVER!r}") from error
    if seconds < LEAST_IDLE_S:
        raise ValueError(f"must be at least {format_walltime(LEAST_IDLE_S)}, or {NEVER!r}")
    return value


def _read_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


DnsLabel = Annotated[str, AfterValidator(_check_dns_label)]
RedirectPath = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_check_redirect_path)]
Walltime = Annotated[str, AfterValidator(_check_walltime)]
IdleSleep = Annotated[str, AfterValidator(_check_idle_sleep)]
Text = Annotated[str, StringConstraints(max_length=65536)]
Retries = Annotated[int, Field(ge=0, le=_MAX_RETRY)]
RetrySleep = Annotated[int, Field(ge=0, le=_MAX_RETRY)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Target(_Strict):
    """A Service in the virtual cluster. The Ingress exposes the first target."""

    service_name: DnsLabel
    service_namespace: DnsLabel
    service_port: Annotated[int, Field(ge=1, le=65535)]


class TemplatesSettings(_Strict):
    """Retries of the items that set none. `global_retry_sleep` is in seconds."""

    global_retry: Retries = DEFAULT_RETRY
    global_retry_sleep: RetrySleep = DEFAULT_RETRY_SLEEP_S


class TemplateItem(_Strict):
    """One entry of `templates`. `retry` is the number of attempts after the first, `retry_sleep` is in seconds."""

    name: Text
    type: Literal["kubectl", "kustomize", "custom"]
    path: Annotated[str, StringConstraints(max_length=1_000_000)] | None = None
    format: Literal["", "url", "base64"] = ""
    cmd: Annotated[str, StringConstraints(max_length=1_000_000)] | None = None
    retry: Retries | None = None
    retry_sleep: RetrySleep | None = None

    @model_validator(mode="after")
    def _check_whole(self) -> "TemplateItem":
        if self.type == "custom":
            if not self.cmd:
                raise ValueError("cmd is required for type custom; give a script in base64")
            _check_base64(self.cmd, "cmd")
            return self
        if not self.path:
            raise ValueError(f"path is required for type {self.type}")
        if self.type == "kustomize" and self.format:
            raise ValueError("format is allowed only for type kubectl")
        _PATH_CHECKS[self.format](self.path)
        return self


def _check_base64(text: str, key: str) -> None:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{key} is not base64") from error


def _check_relative_path(path: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("path must be relative to /templates, without '..'")
    if path.startswith("-") or "\0" in path:
        raise ValueError("path must not start with '-'")


def _check_url(path: str) -> None:
    if not re.fullmatch(r"https?://[^\s\0]+", path):
        raise ValueError("path must be an http or https URL when format is url")


_PATH_CHECKS: dict[str, Callable[[str], None]] = {
    "": _check_relative_path,
    "url": _check_url,
    "base64": lambda path: _check_base64(path, "path"),
}


class KeycloakClient(_Strict):
    """
    A request for an OIDC client. `redirect_paths` are below the job's URL; `namespace` is the namespace of its Secret.
    """

    redirect_paths: Annotated[list[RedirectPath], Field(min_length=1, max_length=50)] = ["/*"]
    namespace: DnsLabel | None = None


class NestedKubernetes(_Strict):
    """`commands.<key>.nested_kubernetes`: how kns creates a job's virtual cluster and deploys the app in it."""

    kubernetes_version: str = ""
    targets: Annotated[list[Target], Field(max_length=50)] = []
    ingress_type: Literal["subdomain", "prefix"] = "subdomain"
    enable_gotty_shell: Flag = False
    templates_settings: TemplatesSettings = TemplatesSettings()
    templates: Annotated[list[TemplateItem], Field(min_length=1, max_length=MAX_ITEMS)]
    limit_range: list[LimitRangeItem] | None = None
    keycloak: KeycloakClient | None = None
    idle_sleep: IdleSleep | None = None

    @property
    def idle_sleep_s(self) -> int | None:
        """Seconds without use after which a job falls asleep; 0: never; None: the site's setting decides."""
        if self.idle_sleep is None:
            return None
        return 0 if self.idle_sleep == NEVER else parse_walltime(self.idle_sleep)

    @field_validator("kubernetes_version")
    @classmethod
    def _check_version(cls, value: str) -> str:
        """Keep the minor version; kns chooses the patch version."""
        if not value:
            return ""
        minor = read_minor(value)
        if minor is None:
            raise ValueError(f"{value!r} is not a Kubernetes version like v1.36")
        return minor

    @field_validator("keycloak", mode="before")
    @classmethod
    def _read_keycloak(cls, value: Any) -> Any:
        """`true` requests a client with the defaults, `false` none."""
        return {True: {}, False: None}.get(flag, value) if isinstance(flag := read_flag(value), bool) else value

    @field_validator("limit_range", mode="before")
    @classmethod
    def _read_limit_range(cls, value: Any) -> Any:
        """
        Accept one object, a list, or either as JSON in base64. Problems inside the base64 have their path in the
        message.
        """
        if isinstance(value, str) or (isinstance(value, list) and not 0 < len(value) <= MAX_LIMITS):
            return _raise_value_error(lambda: parse_limit_range(value))
        return [value] if isinstance(value, dict) else value


class Command(_Strict):
    """One entry of `commands`."""

    # Keys of published AppDefs that have no effect on a nested job, with their types. kns does not check the values.
    IGNORED_KEYS: ClassVar[Mapping[str, Any]] = {
        "publicip": bool,
        "ports": list[str],
        "webshell": bool,
        "desktop": bool,
        "mpirun": bool,
        "verboseinit": bool,
        "cmdscript": str,
    }
    OLD_SPELLINGS: ClassVar[Mapping[str, str]] = {NESTED_KEYS[0]: NESTED_KEYS[1]}  # by the current name

    name: Text
    description: Text
    path: Text
    parameters: Parameters = {}
    nested_kubernetes: NestedKubernetes
    interactive: Flag | None = None
    noconnect: Flag = False
    url: Text | None = None
    machines: list[str] | None = None
    walltime: Walltime | None = None
    scale_max: Annotated[int, Field(ge=0)] | None = None
    variables: Variables = {}

    @model_validator(mode="before")
    @classmethod
    def _read_old_spelling(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if "nestedkubernetes" in data:
            if "nested_kubernetes" in data:
                raise ValueError("nested_kubernetes and nestedkubernetes are the same key; give one of them")
            data = {**data, "nested_kubernetes": data["nestedkubernetes"]}
        if "nested_kubernetes" not in data:
            raise ValueError("nested_kubernetes is missing; kns runs only nested apps")
        return data

    @model_validator(mode="after")
    def _check_whole(self) -> "Command":
        """`NestedKubernetes` does not check this, because stored records must stay readable when the rules change."""
        nested = self.nested_kubernetes
        problems = [problem.below(("limit_range",)) for problem in find_limit_range_problems(nested.limit_range or ())]
        problems += _find_redirect_problems(nested.keycloak.redirect_paths if nested.keycloak else ())
        if (
            sum(len(item.name) + len(item.path or "") + len(item.cmd or "") for item in nested.templates)
            > MAX_TEMPLATES
        ):
            problems.append(
                Problem(
                    ("templates",),
                    f"name, path and cmd of all items have more than {MAX_TEMPLATES} characters in total; move large "
                    "items to the app's image",
                )
            )
        if problems:
            raise located_errors(problem.below(("nested_kubernetes",)) for problem in problems)
        return self


class Icon(_Strict):
    """The app's icon. kns only stores it."""

    type: str
    data: str


class AppDef(_Strict):
    """A complete AppDef. `commands` keeps the author's order."""

    name: Text
    description: Text
    author: Text
    licensed: bool
    appdefversion: Annotated[int, Field(ge=2)]
    appkind: Literal["kns"] | None = None
    classifications: Annotated[list[str], BeforeValidator(_read_list)]
    machines: list[str]
    vault_types: Annotated[list[Literal["FILE", "BLOCK", "BLOCK_ARRAY", "NONE", "OBJECT"]], Field(alias="vault-types")]
    commands: Annotated[dict[str, Command], Field(min_length=1)]
    image: Icon
    walltime: Walltime | None = None
    scale_max: Annotated[int, Field(ge=0)] | None = None
    variables: Variables = {}
    identity: Any = None  # kns stores these three for other systems
    hints: Any = None
    meta: Any = None

    @model_validator(mode="after")
    def _check_names(self) -> "AppDef":
        """A parameter with `variable` must not have the name of an account variable, which it would replace."""
        for command_key, command in self.commands.items():
            for name in self.variables_of(command):
                if name in command.parameters and command.parameters[name].variable:
                    location = ("commands", command_key, "parameters", name)
                    raise located_error(location, "has the same name as an account variable; rename one of them")
        return self

    def variables_of(self, command: Command) -> dict[str, Variable]:
        """The account variables of a command: those of the app, then those of the command, which win."""
        return {**self.variables, **command.variables}

    def choose_command(self, key: str | None) -> tuple[str, Command]:
        """
        The command with the name `key`, which may be omitted if there is one command.

        Raises:
            InvalidInputError: `key` is missing and there are several commands.
            UnknownAppError: there is no such command.
        """
        if not key:
            if len(self.commands) != 1:
                raise InvalidInputError("application.command", f"choose one of {', '.join(self.commands)}")
            return next(iter(self.commands.items()))
        if key not in self.commands:
            raise UnknownAppError(f"application.command: {key!r} is not a command of this app")
        return key, self.commands[key]

    def most_nodes(self, command: Command) -> int | None:
        """The highest number of nodes that the app allows; None if there is no limit (0 or absent)."""
        return command.scale_max or self.scale_max or None

    def admits_machine(self, command: Command, machine: str) -> bool:
        patterns = command.machines if command.machines is not None else self.machines
        return any(fnmatchcase(machine, pattern) for pattern in patterns)


def parse_appdef(data: Any) -> AppDef:
    """
    Check a decoded AppDef.

    Raises:
        InvalidInputError: with the key path of the first problem.
    """
    return parse_model(AppDef, data)
