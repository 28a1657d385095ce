"""The recipes of the images: their Dockerfiles exist, copy what the context has, and each name is made once."""

import re
from pathlib import Path

import pytest

from conformance import images, programs
from conformance.images import BUILT, PLAIN, Recipe


@pytest.mark.parametrize("recipe", BUILT, ids=lambda recipe: recipe.names[0])
def test_a_context_has_what_the_dockerfile_copies(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_CONTEXTS", tmp_path / "contexts")
    built = {program.name: tmp_path / program.name for program in programs.PROGRAMS}
    for file in (*built.values(), *(tmp_path / name for name in recipe.files.values() if "/" in name)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    dockerfile = (images._RECIPES / f"{recipe.dockerfile}.Dockerfile").read_text("utf-8")
    copied = {source for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for source in line.split()}
    context = images._write_context(recipe, built, tmp_path)
    context = images._write_context(recipe, built, tmp_path)  # it is written anew each time
    made = {str(file.relative_to(context)) for file in context.rglob("*") if file.is_file()}
    assert {name if name in copied else f"{name.partition('/')[0]}/" for name in made} == copied


def test_each_name_is_made_once() -> None:
    names = [image.name for image in PLAIN] + [name for recipe in BUILT for name in recipe.names]
    assert len(names) == len(set(names))
    assert all(name.startswith("registry.k8s.io/") for name in names)
