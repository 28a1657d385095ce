"""
Reads the inputs of image builds: build contexts without what .dockerignore excludes, Dockerfiles, and image archives.
"""

import fnmatch
import hashlib
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Iterator

from testbed.errors import TestbedError


def context_hash(context: pathlib.Path, dockerfile: pathlib.Path) -> str:
    """
    Hash the Dockerfile and the names, modes and contents of the files that the build can read.
    """
    digest = hashlib.sha256(dockerfile.read_bytes())
    patterns = ignore_patterns(context)
    for path in sorted(_files(context)):
        name = path.relative_to(context).as_posix()
        if is_ignored(name, patterns):
            continue
        executable = os.access(path, os.X_OK)
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        digest.update(f"{name}\0{executable}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def declared_arguments(dockerfile: pathlib.Path) -> set[str]:
    """
    The names that a Dockerfile declares with ARG.
    """
    return set(re.findall(r"^ARG\s+(\w+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE))


def ignore_patterns(context: pathlib.Path) -> list[str]:
    """
    The patterns in .dockerignore.
    """
    listing = context / ".dockerignore"
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def is_ignored(name: str, patterns: list[str]) -> bool:
    """
    Whether .dockerignore excludes a file. The last matching line decides, as Docker documents.

    >>> is_ignored("kns/model/job/job.py", ["*", "!kns", "**/__pycache__"])
    False
    >>> is_ignored("kns/__pycache__/a.pyc", ["*", "!kns", "**/__pycache__"])
    True
    """
    ignored = False
    for line in patterns:
        pattern = line.removeprefix("!").strip("/")
        if _matches(name, pattern):
            ignored = not line.startswith("!")
    return ignored


def archive_names(archive: pathlib.Path) -> list[tuple[str, str]]:
    """
    The images in an archive, as pairs of skopeo transport and image name.

    Raises:
        TestbedError: the file is not an image archive, or its images have no names.
    """
    if not archive.is_file() or not tarfile.is_tarfile(archive):
        raise TestbedError(f"{archive} is not an image archive (a tar file as `docker save` writes it)")
    with tarfile.open(archive) as tar:
        # Recent versions of Docker write both formats, but only the Docker format has full image names.
        for member, transport, names in (
            ("manifest.json", "docker-archive", _docker_names),
            ("index.json", "oci-archive", _oci_names),
        ):
            try:
                stream = tar.extractfile(member)
            except KeyError:
                continue
            found = names(json.load(stream)) if stream else []
            if found:
                return [(transport, name) for name in found]
    raise TestbedError(f"{archive} holds no named image; save it by name and tag, not by its ID")


def _docker_names(manifest: list[dict[str, list[str]]]) -> list[str]:
    return [name for entry in manifest for name in entry.get("RepoTags") or []]


def _oci_names(index: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    annotations = [entry.get("annotations", {}) for entry in index.get("manifests", [])]
    names = [entry.get("org.opencontainers.image.ref.name", "") for entry in annotations]
    return [name for name in names if ":" in name]


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            yield pathlib.Path(root) / name


def _matches(name: str, pattern: str) -> bool:
    parts = name.split("/")
    heads = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    bare = pattern.removeprefix("**/")
    if bare != pattern:
        heads += [head for start in range(1, len(parts)) for head in _heads(parts[start:])]
    return any(fnmatch.fnmatchcase(head, bare) for head in heads)


def _heads(parts: list[str]) -> list[str]:
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
