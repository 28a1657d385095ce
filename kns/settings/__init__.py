"""
Read the environment into one frozen `Settings` object and report every problem in one error.

An empty variable counts as unset. Published variables are named `JARVICE_*`; variables that kns adds begin with `KNS_`.
Only main and wiring see the whole `Settings`; every other part receives the values that it needs.
"""

import os
from collections.abc import Collection, Mapping, MutableMapping

from pydantic import ValidationError

from kns.model.errors import KnsError
from kns.settings.site import build_proxies, build_site, build_terms
from kns.settings.table import DEFAULT_CHART, Settings, list_names

__all__ = [
    "DEFAULT_CHART",
    "Settings",
    "SettingsError",
    "VariableProblem",
    "build_proxies",
    "build_site",
    "build_terms",
    "forget_secrets",
    "list_names",
    "list_unknown",
    "load_settings",
    "read_settings",
]

_KEYCLOAK = "JARVICE_KNS_KEYCLOAK_"
_VERSIONS = "KNS_KUBERNETES_VERSIONS"
_PROBE, _REPORT = "JARVICE_KNS_BILLING_PROBE_INTERVAL", "JARVICE_KNS_BILLING_REPORT_INTERVAL"

VariableProblem = tuple[str, str]  # the variable, and the problem without the value, which may be secret


class SettingsError(KnsError):
    """The environment is not usable. `problems` has one entry per variable."""

    def __init__(self, problems: list[VariableProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems))


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """
    The settings of an environment; `load_settings({})` gives the defaults.

    Raises:
        SettingsError: with every problem.
    """
    settings, problems = read_settings(environ)
    if problems:
        raise SettingsError(problems)
    return settings


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[VariableProblem]]:
    """
    The settings and their problems. A variable with an invalid value has its default in the settings, so that the
    caller can check the rest of the installation and report all problems together.
    """
    given = {name: value for name, value in environ.items() if value}
    try:
        settings, problems = Settings.model_validate(given), []
    except ValidationError as error:
        problems = [
            (str(item["loc"][0]), item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_input=False)
        ]
        invalid = {name for name, _ in problems}
        settings = Settings.model_validate({name: value for name, value in given.items() if name not in invalid})
    return settings, [*problems, *_check_together(settings, given, invalid={name for name, _ in problems})]


def _check_together(settings: Settings, given: Collection[str], *, invalid: set[str]) -> list[VariableProblem]:
    """Rules between variables. `given` are the names that are set; an invalid variable gets no second problem here."""
    problems = []
    parts = {part for part in ("URL", "REALM", "CLIENT_ID", "CLIENT_SECRET") if _KEYCLOAK + part in given}
    if parts - {"REALM"}:  # the published chart always sets the realm, so the realm alone configures nothing
        missing = {"URL", "REALM", "CLIENT_ID", "CLIENT_SECRET"} - parts
        problems += [
            (_KEYCLOAK + part, f"is unset although {_KEYCLOAK}{min(parts - {'REALM'})} is set; set all four or none")
            for part in sorted(missing)
        ]
    if "KNS_WEB_KEYCLOAK_CLIENT_ID" in given:
        needs = ("KNS_WEB_URL", _KEYCLOAK + "URL", _KEYCLOAK + "REALM", "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY")
        problems += [
            (name, "is unset although KNS_WEB_KEYCLOAK_CLIENT_ID is set, which needs it")
            for name in needs
            if name not in given and name not in {reported for reported, _ in problems}
        ]
    if "KNS_IDLE_SLEEP" not in invalid and settings.idle_sleep_s:
        problems += [
            (name, "is unset although KNS_IDLE_SLEEP is set, which needs it")
            for name in ("KNS_TRAFFIC_METRICS_URL", "KNS_VCLUSTER_STORAGE_CLASS")
            if name not in given
        ]
    if not invalid & {_PROBE, _REPORT} and settings.report_interval_s < settings.probe_interval_s:
        problems.append((_REPORT, f"must be at least {_PROBE}"))
    if not invalid & {"KNS_POOL", _VERSIONS}:
        problems += [
            ("KNS_POOL", f"{pool.version} is not in {_VERSIONS}")
            for pool in settings.pools
            if pool.version and pool.version not in settings.virtual_versions
        ]
    return problems


def list_unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables with a value whose names look like variables of kns and are not: probably typing errors."""
    known = {name for names in list_names() for name in names}
    ours = ("JARVICE_KNS_", "KNS_")
    return sorted(name for name, value in environ.items() if value and name.startswith(ours) and name not in known)


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Remove secret values from the environment, because the programs that kns starts inherit it."""
    for field, names in zip(Settings.model_fields.values(), list_names(), strict=True):
        if "SecretStr" in str(field.annotation):
            for name in names:
                environ.pop(name, None)
