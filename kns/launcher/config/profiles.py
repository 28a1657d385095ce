"""
User and group profiles, and resource profiles.

The sections of the file apply from top to bottom: `[*]` to everybody, `[@group]` to members, `[user]` to one user. A
later section that applies replaces single keys of an earlier one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kns.launcher.config import values
from kns.launcher.config.groups import Groups, RememberedGroups
from kns.launcher.config.lines import ConfFile, Entry, Section, read_conf
from kns.launcher.config.pointer import find_protected, read_overrides
from kns.launcher.config.problems import Problem, suggest
from kns.launcher.config.values import Reader
from kns.launcher.ports import Profile, ResourceLimit, ResourceProfile

EVERYBODY = "*"
MAX_CPUS = 100_000  # more than any cluster has; a typing error of some digits is found
MAX_MEM_MB = 1_000_000_000  # 1 PB
MAX_GPUS = 10_000

Constraints = tuple[tuple[str, str | None], ...]


def read_constraints(text: str) -> Constraints:
    """
    Node labels as `key` (the user writes the value) or `key:value` (a choice).

    >>> read_constraints("node,region:us,region:eu")
    (('node', None), ('region', 'us'), ('region', 'eu'))
    """
    found = []
    for part in values.read_list(text):
        key, colon, value = part.partition(":")
        found.append((values.read_label_key(key.strip()), values.read_label_value(value.strip()) if colon else None))
    return tuple(found)


_CPUS, _MEM_MB = values.read_amount(MAX_CPUS), values.read_amount(MAX_MEM_MB)
_GPUS = values.read_count(0, MAX_GPUS)
_OVERRIDES = "job-json-overrides"
_RESOURCE_PROFILES = "resource-profiles"
_CUSTOM = "allow-custom-resources"

PROFILE_KEYS: Mapping[str, Reader[Any]] = MappingProxyType(
    {
        "container-images": values.read_list,
        "default-container-image": values.read_optional_text,
        "allow-unknown-images": values.read_flag,
        "placement-constraints": read_constraints,
        "default-cpus": _CPUS,
        "default-mem-mb": _MEM_MB,
        "max-cpus": _CPUS,
        "max-mem-mb": _MEM_MB,
        "cpu-request-ratio": values.read_ratio,
        "memory-request-ratio": values.read_ratio,
        "default-nvidia-gpus": _GPUS,
        "default-amd-gpus": _GPUS,
        "max-nvidia-gpus": _GPUS,
        "max-amd-gpus": _GPUS,
        _OVERRIDES: values.read_optional_text,  # `_check_entry` reads the files as well
        # Later versions of the documents.
        "default-cpus-request": _CPUS,
        "default-mem-mb-request": _MEM_MB,
        "max-cpus-request": _CPUS,
        "max-mem-mb-request": _MEM_MB,
        _RESOURCE_PROFILES: values.read_list,
        _CUSTOM: values.read_flag,
        # kns.
        "nested": values.read_flag,
    }
)

RESOURCE_KEYS: Mapping[str, Reader[Any]] = MappingProxyType(
    {
        "name": values.read_text,
        "cpus": _CPUS,
        "cpus-request": _CPUS,
        "mem-mb": _MEM_MB,
        "mem-mb-request": _MEM_MB,
        "nvidia-gpus": _GPUS,
        "amd-gpus": _GPUS,
        "placement-constraints": read_constraints,
    }
)

# Key of a resource profile -> the Launcher's type of a resource limit.
_TYPES = MappingProxyType(
    {
        "cpus": "cpuCount",
        "cpus-request": "CPU Request",
        "mem-mb": "memory",
        "mem-mb-request": "Memory Request",
        "nvidia-gpus": "NVIDIA GPUs",
        "amd-gpus": "AMD GPUs",
    }
)


@dataclass(frozen=True, slots=True)
class ProfileSection:
    """One heading with its values, typed. `name` is `*`, `@group` or a user."""

    name: str
    settings: Mapping[str, Any]

    def applies_to(self, user: str, groups: Sequence[str]) -> bool:
        if self.name.startswith("@"):
            return self.name[1:] in groups
        return self.name in (EVERYBODY, user)


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """
    The profiles of all users. Implements `kns.launcher.ports.Profiles`.

    `nested` is the value of the main configuration file, for users without a value of their own. `warnings` are
    problems that do not stop the plugin.
    """

    sections: tuple[ProfileSection, ...] = ()
    resources: tuple[ResourceProfile, ...] = ()
    nested: bool = False
    warnings: tuple[Problem, ...] = ()
    groups: Groups = field(default_factory=RememberedGroups)

    def for_user(self, user: str) -> Profile:
        """The merged profile. `*` and "" are users without a section and without groups."""
        is_one_user = user not in (EVERYBODY, "")
        needs_groups = any(section.name.startswith("@") for section in self.sections)
        groups = self.groups(user) if is_one_user and needs_groups else ()
        merged: dict[str, Any] = {}
        for section in self.sections:
            if section.applies_to(user, groups):
                merged.update(section.settings)
        return build_profile(merged, self.resources, nested=self.nested)


def build_profile(merged: Mapping[str, Any], resources: Sequence[ResourceProfile], *, nested: bool) -> Profile:
    names = merged.get(_RESOURCE_PROFILES)
    return Profile(
        images=merged.get("container-images", ()),
        default_image=merged.get("default-container-image", ""),
        allow_unknown_images=merged.get("allow-unknown-images", True),
        constraints=merged.get("placement-constraints", ()),
        limits=tuple(_build_limits(merged)),
        cpu_request_ratio=float(merged.get("cpu-request-ratio", 1)),
        memory_request_ratio=float(merged.get("memory-request-ratio", 1)),
        resource_profiles=tuple(each for each in resources if names is None or each.name in names),
        allow_custom_resources=merged.get(_CUSTOM, True),
        json_overrides=merged.get(_OVERRIDES, ()),
        nested=merged.get("nested", nested),
    )


def _build_limits(merged: Mapping[str, Any]) -> Iterable[ResourceLimit]:
    yield _build_limit("cpuCount", merged.get("default-cpus"), merged.get("max-cpus"))
    yield _build_limit("memory", merged.get("default-mem-mb"), merged.get("max-mem-mb"))
    if merged.keys() & {"default-cpus-request", "max-cpus-request"}:
        yield _build_limit("CPU Request", merged.get("default-cpus-request"), merged.get("max-cpus-request"))
    if merged.keys() & {"default-mem-mb-request", "max-mem-mb-request"}:
        yield _build_limit("Memory Request", merged.get("default-mem-mb-request"), merged.get("max-mem-mb-request"))
    for vendor, kind in (("nvidia", "NVIDIA GPUs"), ("amd", "AMD GPUs")):
        most = merged.get(f"max-{vendor}-gpus", 0)
        default = min(merged.get(f"default-{vendor}-gpus", 0), most)
        # Of GPUs, 0 means none. Of processors and memory it means no limit.
        yield ResourceLimit(kind, str(default) if default else "", str(most))


def _build_limit(kind: str, default: Decimal | None, most: Decimal | None) -> ResourceLimit:
    """
    0 means no limit. The default is never above the maximum.

    The documents' example lowers a user's maximum below the default of a group; and a job without a limit under a
    maximum would be above it. Such a job gets the maximum.
    """
    if most and (not default or default > most) and not kind.endswith("Request"):
        default = most
    if most and default and default > most:
        default = most
    return ResourceLimit(kind, write_number(default), write_number(most))


def write_number(number: Decimal | int | None) -> str:
    """
    As the Launcher writes numbers; "" for none and for 0.

    >>> write_number(Decimal("2.0")), write_number(Decimal("0.50")), write_number(Decimal(1000))
    ('2', '0.5', '1000')
    """
    return format(Decimal(number).normalize(), "f") if number else ""


def read_profiles(
    path: Path, resources_path: Path, problems: list[Problem], *, must_exist: bool, nested: bool = False
) -> ProfileFile:
    """Read both files. They may be missing, unless `must_exist` says that the configuration names the first one."""
    resources = read_resources(resources_path, problems) if resources_path.exists() else ()
    if not path.exists() and not must_exist:
        return ProfileFile(resources=resources, nested=nested)
    conf = read_conf(path, problems)
    if conf is None:
        return ProfileFile(resources=resources, nested=nested)
    warnings: list[Problem] = []
    sections = []
    for section in conf.sections:
        if not section.name:
            problems.extend(
                Problem(conf.path, entry.line, entry.key, "is above the first heading; write [*] before it")
                for entry in section.entries
            )
            continue
        if section.name == "@":
            problems.append(Problem(conf.path, section.line, "[@]", "a group needs a name"))
        settings = _read_entries(conf, section, PROFILE_KEYS, problems)
        for entry in section.entries:
            _check_entry(conf, entry, settings, resources, problems, warnings)
        sections.append(ProfileSection(section.name, MappingProxyType(settings)))
    return ProfileFile(tuple(sections), resources, nested, tuple(warnings))


def _read_entries(
    conf: ConfFile, section: Section, keys: Mapping[str, Reader[Any]], problems: list[Problem]
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for entry in section.entries:
        if entry.key not in keys:
            said = f"is not a setting of [{section.name}]; {suggest(entry.key, keys)}"
            problems.append(Problem(conf.path, entry.line, entry.key, said))
            continue
        try:
            settings[entry.key] = keys[entry.key](entry.value)
        except ValueError as error:
            problems.append(Problem(conf.path, entry.line, entry.key, str(error)))
    return settings


def _check_entry(
    conf: ConfFile,
    entry: Entry,
    settings: dict[str, Any],
    resources: Sequence[ResourceProfile],
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    """Checks that need other files."""
    if entry.key == _OVERRIDES:
        overrides = read_overrides(entry.value, conf.path, entry.line, problems)
        settings[_OVERRIDES] = overrides
        warnings.append(Problem(conf.path, entry.line, entry.key, "is deprecated; use templates (use-templating=1)"))
        warnings.extend(
            Problem(conf.path, entry.line, entry.key, f"{pointer} replaces what the plugin needs; add fields only")
            for pointer in find_protected(overrides)
        )
    elif entry.key == _RESOURCE_PROFILES:
        known = [each.name for each in resources]
        problems.extend(
            Problem(conf.path, entry.line, entry.key, f"there is no resource profile {name!r}; {suggest(name, known)}")
            for name in settings.get(entry.key, ())
            if name not in known
        )
    elif entry.key == _CUSTOM and settings.get(_CUSTOM) is False and not resources:
        said = "is 0, and there is no resource profile that a job could have; write one to the file of these profiles"
        problems.append(Problem(conf.path, entry.line, entry.key, said))


def read_resources(path: Path, problems: list[Problem]) -> tuple[ResourceProfile, ...]:
    """Read the resource profiles, in the order of the file; the one called `default` comes first."""
    conf = read_conf(path, problems)
    if conf is None:
        return ()
    found: dict[str, ResourceProfile] = {}
    for section in conf.sections:
        if not section.name:
            problems.extend(
                Problem(conf.path, entry.line, entry.key, "is above the first heading; write [default] before it")
                for entry in section.entries
            )
            continue
        if section.name in found:
            problems.append(Problem(conf.path, section.line, f"[{section.name}]", "exists twice"))
        settings = _read_entries(conf, section, RESOURCE_KEYS, problems)
        free = [key for key, value in settings.get("placement-constraints", ()) if value is None]
        problems.extend(
            Problem(conf.path, section.line, "placement-constraints", f"{key} needs a value here") for key in free
        )
        found[section.name] = ResourceProfile(
            name=section.name,
            display_name=settings.get("name", section.name),
            limits=MappingProxyType(
                {kind: text for key, kind in _TYPES.items() if (text := write_number(settings.get(key)))}
            ),
            constraints=tuple(pair for pair in settings.get("placement-constraints", ()) if pair[1] is not None),
        )
    return tuple(sorted(found.values(), key=lambda each: each.name != "default"))
