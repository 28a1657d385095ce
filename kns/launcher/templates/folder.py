"""
The templates in the scratch folder: written if absent, read as one snapshot, compared with the defaults.

Only regular files inside the folder are read. A symbolic link may lead to another file of the folder, as in a mounted
ConfigMap, but not out of it.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kns.launcher.templates.errors import TemplateError
from kns.launcher.templates.limits import MAX_TEMPLATE_BYTES, MAX_TEMPLATES
from kns.launcher.templates.versions import check_version
from kns.model.errors import KnsError

JOB, SERVICE = "job.tpl", "service.tpl"
ENTRIES = (JOB, SERVICE)
JINJA = ".j2"  # job.j2 takes the place of job.tpl, service.j2 that of service.tpl

_MODE = 0o644  # the service user must read what root wrote by --generate-templates
_DIFF_S = 10.0  # `diff` of two files of 256 KiB takes milliseconds
# Names of included files. Names without .tpl are read only if a template names them.
_INCLUDE = re.compile(r"""\binclude\s+(?:"([^"\\]{1,200})"|`([^`]{1,200})`)""")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    All templates as they were at one moment. `entries` maps job.tpl and service.tpl to the file that takes this part:
    the same name, or the one in Jinja2.
    """

    sources: Mapping[str, str]
    entries: Mapping[str, str]


def read_defaults() -> dict[str, str]:
    """The templates that come with kns."""
    folder = resources.files("kns.launcher.templates") / "defaults"
    return {name: (folder / name).read_text(encoding="utf-8") for name in ENTRIES}


def generate(folder: Path) -> list[Path]:
    """
    Write the default templates that are not there yet; return what was written.

    Each file appears whole and at once, so a second process reads all of it or none.

    Raises:
        TemplateError: the folder or a file cannot be written.
    """
    written = []
    for name, source in read_defaults().items():
        path = folder / name
        if path.is_symlink() or path.exists() or path.with_suffix(JINJA).exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if _write_new(path, source):
                written.append(path)
        except OSError as error:
            raise TemplateError(name, 0, f"cannot be written to {folder}: {error.strerror or error}") from error
    return written


def _write_new(path: Path, source: str) -> bool:
    """False if another process wrote the file meanwhile. A hard link never replaces a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        Path(temporary).chmod(_MODE)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink(missing_ok=True)
    return True


def read_snapshot(folder: Path) -> Snapshot:
    """
    Read job.tpl, service.tpl, every other `*.tpl` and `*.j2` file, and what these include by name.

    Raises:
        TemplateError: a file is missing, too large, not UTF-8, outside the folder, or of an unknown version.
    """
    sources: dict[str, str] = {}
    entries = {name: _choose(folder, name) for name in ENTRIES}
    waiting = [*entries.values(), *_other_templates(folder)]
    while waiting:
        name = waiting.pop(0)
        if name in sources:
            continue
        if len(sources) == MAX_TEMPLATES:
            raise TemplateError(name, 0, f"there are more than {MAX_TEMPLATES} templates in {folder}")
        sources[name] = _read(folder, name)
        waiting += [
            included
            for included in _included(sources[name])
            if "/" not in included and not included.startswith(".") and (folder / included).is_file()
        ]
    for name in entries.values():
        check_version(name, sources[name])
    return Snapshot(sources, entries)


def _choose(folder: Path, name: str) -> str:
    jinja = Path(name).with_suffix(JINJA).name
    return jinja if (folder / jinja).is_file() else name


def _other_templates(folder: Path) -> Iterator[str]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise TemplateError(JOB, 0, f"{folder} cannot be read: {error.strerror or error}") from error
    for name in names:
        if (
            name.endswith((".tpl", JINJA))
            and not name.startswith(".")
            and name not in ENTRIES
            and (folder / name).is_file()
        ):
            yield name


def _included(source: str) -> Iterator[str]:
    for match in _INCLUDE.finditer(source):
        yield match[1] or match[2]


def _read(folder: Path, name: str) -> str:
    path = folder / name
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder.resolve(strict=True)):
            raise TemplateError(name, 0, f"is a link to {real}, outside {folder}; put the file into the folder")
        if not real.is_file():
            raise TemplateError(name, 0, "is not a file")
        with real.open("rb") as file:
            content = file.read(MAX_TEMPLATE_BYTES + 1)
    except FileNotFoundError as error:
        raise TemplateError(name, 0, f"is missing in {folder}; --generate-templates writes it") from error
    except OSError as error:
        raise TemplateError(name, 0, f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_TEMPLATE_BYTES:
        raise TemplateError(name, 0, f"is larger than {MAX_TEMPLATE_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(name, content[: error.start].count(b"\n") + 1, "is not UTF-8") from error


class DiffError(KnsError):
    """The templates cannot be compared."""


def diff(folder: Path) -> str:
    """
    What the site changed, as the program `diff` shows it; "" for nothing.

    Raises:
        DiffError: `diff` is not on the PATH, or fails.
        TemplateError: a template cannot be read.
    """
    program = shutil.which("diff")
    if program is None:
        raise DiffError("the program diff is not on the PATH; install it (package diffutils)")
    shown = []
    with tempfile.TemporaryDirectory(prefix="kns-templates-") as temporary:
        for name, source in read_defaults().items():
            own = Path(temporary) / name
            own.write_text(_read(folder, name), encoding="utf-8")
            default = Path(temporary) / f"default-{name}"
            default.write_text(source, encoding="utf-8")
            labels = ["--label", f"generated/{name}", "--label", str(folder / name)]
            try:
                done = subprocess.run(
                    [program, "-u", *labels, str(default), str(own)],
                    capture_output=True, text=True, timeout=_DIFF_S, check=False, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                raise DiffError(f"diff of {name} failed: {error}") from error
            if done.returncode not in (0, 1):
                raise DiffError(f"diff of {name} failed: {done.stderr.strip()[:200]}")
            shown.append(done.stdout)
    return "".join(shown)
