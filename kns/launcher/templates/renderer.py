"""
Jobs and Services from templates: the `Renderer` of `kns.launcher.ports`.

A reload keeps the old templates if the new ones are not valid.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kns.launcher.config.groups import Groups, RememberedGroups, list_groups
from kns.launcher.ports import Names, Profile, Warnings
from kns.launcher.templates.engine import Engine
from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import JINJA, JOB, SERVICE, Snapshot, generate, read_snapshot
from kns.launcher.templates.jinja import JinjaEngine
from kns.launcher.templates.user_text import Masks, mark
from kns.launcher.templates.yaml_text import YamlError, read_yaml
from kns.plain.job import PlainJob

Object = dict[str, Any]
_KINDS = {JOB: ("batch/v1", "Job"), SERVICE: ("v1", "Service")}


@dataclass(frozen=True, slots=True)
class Rendered:
    """`text` is the YAML for people, with a user's texts where the template prints them; `value` is the object."""

    text: str
    value: Any


class Templates:
    """
    One snapshot of templates, compiled.

    Raises:
        TemplateError: a template is not valid.
    """

    def __init__(self, snapshot: Snapshot, folder: Path, groups: Groups = list_groups) -> None:
        self.snapshot = snapshot
        self._folder = folder
        self._groups = groups
        jinja = {name: source for name, source in snapshot.sources.items() if name.endswith(JINJA)}
        others = {name: source for name, source in snapshot.sources.items() if name not in jinja}
        self._engines: Mapping[bool, Engine | JinjaEngine] = {
            True: JinjaEngine(jinja, folder=folder, groups=groups),
            False: Engine(others or {JOB: ""}, folder=folder, groups=groups),
        }

    def render(self, file: str, fields: Mapping[str, Any]) -> Rendered:
        """
        Render one template.

        Raises:
            TemplateError: rendering fails, or the result is not YAML.
        """
        masks = Masks()
        entry = self.snapshot.entries.get(file, file)
        try:
            text = self._engines[entry.endswith(JINJA)].render(entry, {"Job": mark(fields, masks)})
        except TemplateError as error:
            raise TemplateError(error.file, error.line, masks.show(error.said)) from error
        try:
            value = read_yaml(text)
        except YamlError as error:
            where = f", line {error.line} of the result" if error.line else ""
            raise TemplateError(entry, 0, f"does not make YAML{where}: {masks.show(error.said)}") from error
        return Rendered(masks.show(text), masks.reveal(value, entry))

    def render_source(self, source: str, job: PlainJob, names: Names) -> str:
        """The text of a template that is not in the folder, for trying one out."""
        masks = Masks()
        fields = mark(build_fields(job, names, None), masks)
        engine = Engine({**self.snapshot.sources, "tried.tpl": source}, folder=self._folder, groups=self._groups)
        return masks.show(engine.render("tried.tpl", {"Job": fields}))


class TemplateRenderer:
    """
    Implements `kns.launcher.ports.Renderer` with the templates in a folder.

    Templates that are not valid do not stop the plugin: jobs that exist are not affected. New jobs fail with the reason
    until a reload finds valid templates.

    A template that asks for the groups of a user who is not known fails: what it does by a group may be a restriction,
    and the system says the same while its directory service does not answer.
    """

    def __init__(self, folder: Path, *, warn: Warnings, groups: Groups | None = None) -> None:
        self._folder = folder
        self._warn = warn
        self._ask_groups = groups or RememberedGroups()
        self._lock = threading.Lock()
        self._current: Templates | TemplateError
        try:
            self._current = self._load()
        except TemplateError as error:
            warn(
                "templates_invalid", error=str(error), todo="correct the template and send SIGHUP; jobs fail until then"
            )
            self._current = error

    def _load(self) -> Templates:
        generate(self._folder)
        return Templates(read_snapshot(self._folder), self._folder, self._require_groups)

    def _require_groups(self, user: str) -> Sequence[str]:
        found = self._ask_groups(user)
        if not found:
            raise ValueError(
                f"the groups of {user[:64]!r} are not known: the system does not know the user, or its directory "
                "service does not answer; try again, or ask an administrator to run `groups USER`"
            )
        return found

    def reload(self) -> bool:
        """Read the templates again, as SIGHUP asks for. False if the old ones stay, because the new are not valid."""
        with self._lock:
            try:
                templates = self._load()
                check_renders(Templates(templates.snapshot, self._folder))  # the user of the sample has no groups
            except TemplateError as error:
                self._warn("templates_kept", error=str(error), todo="correct the template and send SIGHUP again")
                return False
            self._current = templates
            return True

    def render_job(self, job: PlainJob, names: Names, profile: Profile) -> Object:
        """See `kns.launcher.ports.Renderer`."""
        return self._render(JOB, build_fields(job, names, profile))

    def render_service(self, job: PlainJob, names: Names, *, job_id: str, service: str) -> Object:
        """See `kns.launcher.ports.Renderer`."""
        return self._render(SERVICE, build_fields(job, names, None, job_id=job_id, service=service))

    def _render(self, file: str, fields: Mapping[str, Any]) -> Object:
        templates = self._current
        if isinstance(templates, TemplateError):
            raise TemplateError(templates.file, templates.line, templates.said)
        return check_kind(file, templates.render(file, fields).value)


def check_kind(file: str, value: Any) -> Object:
    """
    The object, if it is of the kind that this template makes.

    Raises:
        TemplateError: another kind, or no object.
    """
    version, kind = _KINDS[file]
    if not isinstance(value, dict):
        raise TemplateError(file, 0, f"makes no object; it must make a {version} {kind}")
    if (value.get("apiVersion"), value.get("kind")) != (version, kind):
        found = f"{value.get('apiVersion')} {value.get('kind')}"
        raise TemplateError(file, 0, f"makes {found!r:.80}; it must make a {version} {kind}")
    return value


def check_renders(templates: Templates) -> None:
    """
    Render the sample job: a template that fails for every job is not valid.

    Raises:
        TemplateError: a template cannot be rendered, or makes another kind of object.
    """
    from kns.launcher.templates.sample import sample_fields

    for file in _KINDS:
        check_kind(file, templates.render(file, sample_fields(file)).value)
