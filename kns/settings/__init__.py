"""
The environment as one frozen Settings object; every problem in one error.

An empty variable counts as unset. Names are the published ones (`JARVICE_*`); kns's own begin with `KNS_`. main hands
each value, not this object, to whoever needs it.
"""

import os
from collections.abc import Mapping, MutableMapping

from pydantic import ValidationError

from kns.model.errors import KnsError
from kns.settings.table import DEFAULT_CHART, Settings, list_names
from kns.settings.values import WHOLE

__all__ = [
    "DEFAULT_CHART",
    "Settings",
    "SettingsError",
    "forget_secrets",
    "list_names",
    "list_unknown",
    "load_settings",
]

_KEYCLOAK = "JARVICE_KNS_KEYCLOAK_"
_PROBE, _REPORT = "JARVICE_KNS_BILLING_PROBE_INTERVAL", "JARVICE_KNS_BILLING_REPORT_INTERVAL"


class SettingsError(KnsError):
    """The environment cannot be used. `problems` are `(variable, what is wrong and what is expected)`."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems))


def load_settings() -> Settings:
    """
    The settings of this process's environment.

    Raises:
        SettingsError: every fault at once.
    """
    together = _check_together(os.environ)
    try:
        settings = Settings()
    except ValidationError as error:
        problems = [
            (_given_name(str(item["loc"][0])), item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError(problems + together) from error
    if together:
        raise SettingsError(together)
    return settings


def _given_name(name: str) -> str:
    """Of a variable with two names the one that was set."""
    names = next((names for names in list_names() if name in names), (name,))
    return next((each for each in names if os.environ.get(each)), name)


def _check_together(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is wrong between variables. On the texts, so that another variable's fault hides none of these."""
    problems = []
    given = {part for part in ("URL", "REALM", "CLIENT_ID", "CLIENT_SECRET") if environ.get(_KEYCLOAK + part)}
    if given - {"REALM"}:  # the chart sets the realm always: alone it means nothing
        missing = {"URL", "REALM", "CLIENT_ID", "CLIENT_SECRET"} - given
        problems += [
            (_KEYCLOAK + part, f"is unset although {_KEYCLOAK}{min(given - {'REALM'})} is set; give all four or none")
            for part in sorted(missing)
        ]
    probe, report = environ.get(_PROBE) or "60", environ.get(_REPORT) or "3600"
    if WHOLE.fullmatch(probe) and WHOLE.fullmatch(report) and 0 < int(report) < int(probe):
        problems.append((_REPORT, f"must be at least {_PROBE}"))
    return problems


def list_unknown(environ: Mapping[str, str]) -> list[str]:
    """Names with a value that look like ours and are not: most likely a typing error, worth a warning."""
    known = {name for names in list_names() for name in names}
    ours = ("JARVICE_KNS_", "KNS_")
    return sorted(name for name, value in environ.items() if value and name.startswith(ours) and name not in known)


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Take secret values out of the environment once they are read: programs that kns starts inherit it."""
    for field, names in zip(Settings.model_fields.values(), list_names(), strict=True):
        if "SecretStr" in str(field.annotation):
            for name in names:
                environ.pop(name, None)
