"""The images of kns: built from their Dockerfiles on the testbed, expected in the registry elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo.catalog import EXAMPLES, check_example, example_ids, example_image
from demo.errors import DemoError
from demo.target import ROOT, Target
from kns import __version__
from testbed import images, locking, registry
from testbed.registry import Reference

SCHEDULER = f"kns-scheduler:{__version__}"
INIT = f"kns-init:{__version__}"
SHELL = f"kns-gotty:{__version__}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build an image. `name` has no registry."""

    name: str
    dockerfile: Path
    context: Path


@dataclass(frozen=True, slots=True)
class OurImages:
    """The references of the images of kns."""

    scheduler: str
    init: str
    shell: str


def list_recipes() -> list[Recipe]:
    """
    Every image of this repository.
    """
    return [
        Recipe(SCHEDULER, ROOT / "Dockerfile", ROOT),
        Recipe(INIT, ROOT / "init-image" / "Dockerfile", ROOT),
        Recipe(SHELL, ROOT / "gotty-image" / "Dockerfile", ROOT),
        *(Recipe(example_image(app), EXAMPLES / app / "Dockerfile", EXAMPLES / app) for app in example_ids()),
    ]


def provide(target: Target, say: Callable[[str], None]) -> OurImages:
    """
    Make sure that the cluster can pull the images of kns, and return their references.

    On the testbed they are pinned by digest, so that only a changed image changes the Deployment.

    Raises:
        TestbedError: a build failed.
    """
    if not target.is_testbed:
        say(f"Images come from {target.registry}; see `python -m demo --help` for how to push them.")
        return OurImages(*(target.image(name) for name in (SCHEDULER, INIT, SHELL)))
    for app in example_ids():
        check_example(app)
    with locking.exclusive():
        for recipe in list_recipes():
            tag = target.image(recipe.name)
            say(images.build_image(tag, recipe.dockerfile, recipe.context))
    return OurImages(*(_pin(target.image(name)) for name in (SCHEDULER, INIT, SHELL)))


def _pin(tag: str) -> str:
    digest = registry.digest(Reference.parse(tag))
    if digest is None:
        raise DemoError(f"the registry of the testbed no longer has {tag}; run `make up` again")
    return f"{tag.rpartition(':')[0]}@{digest}"
