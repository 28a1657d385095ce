import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kns.launcher.ports import Names, Profile
from kns.launcher.templates.folder import generate, read_snapshot
from kns.launcher.templates.renderer import TemplateRenderer, Templates
from kns.plain.job import Container, PlainJob, Port

GROUPS: Mapping[str, tuple[str, ...]] = {"ann": ("users", "admin-grp"), "bob": ("users",)}
NAMES = Names(generate_name="ann-work-", cluster="Kubernetes", service_ports_json='[{"targetPort":8787}]')
HEAD = "# Version: 1\napiVersion: batch/v1\nkind: Job\n"


def a_job(**fields: Any) -> PlainJob:
    job = PlainJob(name="work", user="ann", container=Container("r-session:4.5"), command="R", ports=(Port(8787),))
    return dataclasses.replace(job, **fields)


class Scratch:
    """A scratch folder, and what the plugin warned of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[tuple[str, str]] = []

    def write(self, name: str, text: str) -> Path:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def renderer(self) -> TemplateRenderer:
        return TemplateRenderer(
            self.folder,
            warn=lambda event, **keys: self.warnings.append((event, str(keys.get("error")))),
            groups=lambda user: GROUPS.get(user, ()),
        )

    def templates(self) -> Templates:
        generate(self.folder)
        return Templates(read_snapshot(self.folder), self.folder, lambda user: GROUPS.get(user, ()))

    def job(self, template: str | None = None, **fields: Any) -> dict[str, Any]:
        """The Job of a template, or of the one in the folder."""
        if template is not None:
            self.write("job.tpl", template)
        return self.renderer().render_job(a_job(**fields), NAMES, Profile())

    def notes(self, lines: str, **fields: Any) -> Any:
        """The annotations that a template with these lines makes."""
        return self.job(f"{HEAD}metadata:\n  annotations:\n{lines}\n", **fields)["metadata"]["annotations"]


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")
