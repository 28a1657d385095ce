"""Generate docs/configuration.md from the settings table: `python docs/build_configuration.py` (or `make docs`)."""

from pathlib import Path
from typing import get_args

from kns.settings import Settings, list_names

HEAD = """# Configuration

For administrators. kns is configured by environment variables; `manifests/` sets them in ConfigMap `kns-config`. An
empty value counts as unset. kns checks all variables at start. It prints one line `kns: NAME: problem` on stderr for
each invalid variable and exits with status 2. This page is generated from `kns/settings/table.py`.

| variable | default | meaning |
|---|---|---|
"""

TAIL = """
A variable that begins with `JARVICE_KNS_` or `KNS_` and is not in this table has no effect. kns logs a warning for it.
"""


def build_page() -> str:
    """The page as Markdown."""
    rows = []
    for names, field in zip(list_names(), Settings.model_fields.values(), strict=True):
        default = _write_default(field.default)
        kinds = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
        choices = f" One of {', '.join(f'`{k}`' for k in kinds)}." if kinds else ""
        rows.append(f"| {', '.join(f'`{name}`' for name in names)} | {default} | {field.description}{choices} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL


def _write_default(default: object) -> str:
    """The default as an administrator would write it."""
    if default is None:
        return "unset"
    if default in ("", {}):
        return "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(build_page(), encoding="utf-8")
