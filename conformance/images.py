"""
The images that the tests start, under the names that the tests use, in the testbed's registry.

No registry of Kubernetes can be reached from the testbed, so they are made from the same sources on the testbed's base
image: a test that passes with them says something about the cluster, and nothing about the official images.
"""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conformance import programs
from testbed import images, locking
from testbed.images import Image
from testbed.registry import Config

_RECIPES = pathlib.Path(__file__).resolve().parent / "images"
_CONTEXTS = programs.HOME / "contexts"
_E2E = "registry.k8s.io/e2e-test-images"

# The names are those of Kubernetes 1.36.3 (its test/utils/image/manifest.go).
PLAIN: tuple[Image, ...] = (
    Image("registry.k8s.io/pause:3.10.2", {"/pause": "pause"}, Config(("/pause",), user="65535:65535")),
    Image("registry.k8s.io/etcd:3.6.8-0", {"/usr/local/bin/etcd": "etcd"}, Config(command=("/usr/local/bin/etcd",))),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    An image from a Dockerfile. `names`: each gets the same content.

    files: path in the build context -> name of a program, or path in the source of Kubernetes if it has a slash.
    """

    names: tuple[str, ...]
    dockerfile: str
    files: Mapping[str, str]


def _page(name: str) -> Recipe:
    html = f"test/images/{name}/html"
    files = {f"html/{file}": f"{html}/{file}" for file in (f"{name}.jpg", "data.json")}
    return Recipe((f"{_E2E}/{name}:1.8",), "page", {"agnhost": "agnhost", **files})


_PORTER = "test/images/agnhost/porter"
BUILT: tuple[Recipe, ...] = (
    # The older name is for tests that change the image of something.
    Recipe(
        (f"{_E2E}/agnhost:2.63.0", f"{_E2E}/agnhost:2.55"),
        "agnhost",
        {"agnhost": "agnhost", **{name: f"{_PORTER}/{name}" for name in ("localhost.crt", "localhost.key")}},
    ),
    Recipe((f"{_E2E}/busybox:1.37.0-1",), "busybox", {}),
    Recipe((f"{_E2E}/nginx:1.15-4", f"{_E2E}/nginx:1.27-0"), "nginx", {}),
    Recipe((f"{_E2E}/glibc-dns-testing:2.0.0",), "dns", {}),
    Recipe((f"{_E2E}/nonewprivs:1.4",), "nonewprivs", {"nonewprivs": "nonewprivs"}),
    Recipe((f"{_E2E}/sample-apiserver:1.29.2",), "sample-apiserver", {"sample-apiserver": "sample-apiserver"}),
    _page("nautilus"),
    _page("kitten"),
)


def ensure(
    built: Mapping[str, pathlib.Path],
    source: pathlib.Path,
    say: Callable[[str], None],
    tick: Callable[[str], None],
) -> None:
    """
    Make what the registry lacks. `built` are the programs, `source` is the source of Kubernetes.

    Raises:
        TestbedError: a build failed, or the testbed is not up.
    """
    with locking.exclusive():
        for image in PLAIN:
            say(f"{image.name}: {images.ensure_image(image)}")
        for recipe in BUILT:
            context = _write_context(recipe, built, source)
            for name in recipe.names:
                say(images.build_image(name, _RECIPES / f"{recipe.dockerfile}.Dockerfile", context, tick=tick))


def _write_context(recipe: Recipe, built: Mapping[str, pathlib.Path], source: pathlib.Path) -> pathlib.Path:
    context = _CONTEXTS / recipe.names[0].rpartition("/")[2].replace(":", "-")
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    for target, name in recipe.files.items():
        origin = source / name if "/" in name else built[name]
        (context / target).parent.mkdir(parents=True, exist_ok=True)
        if "/" in name:
            shutil.copyfile(origin, context / target)
        else:
            os.link(origin, context / target)  # a program has 100 MiB
    return context
