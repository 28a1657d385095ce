"""The plugin's command line: `--name=value` as the Launcher passes it, and the template commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from kns.launcher.config.options import OPTIONS, Source
from kns.launcher.config.problems import ConfigError, Problem, suggest

COMMAND_LINE = "command line"


class Mode(StrEnum):
    """What the program does. All but `serve` end without a Launcher and without a cluster."""

    SERVE = "serve"
    GENERATE = "generate-templates"
    DIFF = "diff-templates"
    VALIDATE = "validate-templates"
    VERSION = "version"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line, split and checked for known names. `values` holds texts."""

    mode: Mode
    values: Mapping[str, str]
    verbose: bool = False


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """
    Split the arguments, without the name of the program.

    `--name=value` and `--name value` are the same, since the documents use both.

    Raises:
        ConfigError: an unknown option, an option without a value, or two template commands.
    """
    problems: list[Problem] = []
    texts: dict[str, str] = {}
    modes: list[Mode] = []
    verbose = False
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            problems.append(Problem(COMMAND_LINE, 0, argument[:80], "is not an option; options begin with --"))
        elif name == "verbose":
            verbose = True
        elif name in _MODES:
            modes.append(_MODES[name])
        elif name not in OPTIONS or OPTIONS[name].source is Source.FILE:
            problems.append(Problem(COMMAND_LINE, 0, name[:80], f"is not an option; {suggest(name, _NAMES)}"))
            if not equals and rest and not rest[0].startswith("--"):
                rest.pop(0)
        elif equals:
            texts[name] = value
        elif rest and not rest[0].startswith("--"):
            texts[name] = rest.pop(0)
        else:
            problems.append(Problem(COMMAND_LINE, 0, name, "needs a value"))
    if len(set(modes)) > 1:
        problems.append(Problem(COMMAND_LINE, 0, "", f"{' and '.join(modes)} exclude each other"))
    if problems:
        raise ConfigError(problems)
    return Arguments(modes[0] if modes else Mode.SERVE, MappingProxyType(texts), verbose)


_MODES = {mode.value: mode for mode in Mode if mode is not Mode.SERVE}
_NAMES = {name for name, option in OPTIONS.items() if option.source is not Source.FILE} | set(_MODES) | {"verbose"}
