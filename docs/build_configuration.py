"""
Writes docs/configuration.md from the table of settings: `python docs/build_configuration.py` (or `make docs`).
"""

from pathlib import Path
from typing import get_args

from kns.settings import Settings, list_names

HEAD = """# Configuration

For administrators. kns reads environment variables; in `manifests/` they come from ConfigMap `kns-config`. An empty
value counts as unset. kns checks all variables at start, reports every fault on stderr as `kns: NAME: what is wrong`,
and exits with status 2. This page is generated from `kns/settings/table.py`.

| variable | default | meaning |
|---|---|---|
"""

TAIL = """
kns logs a warning about names that begin with `JARVICE_KNS_` or `KNS_` and are not in this table. It ignores them.
"""


def build_page() -> str:
    """The whole page."""
    rows = []
    for names, field in zip(list_names(), Settings.model_fields.values(), strict=True):
        default = (
            "unset" if field.default is None else f"`{field.default}`" if field.default not in ("", {}) else "empty"
        )
        kinds = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
        choices = f" One of {', '.join(f'`{k}`' for k in kinds)}." if kinds else ""
        rows.append(f"| {', '.join(f'`{name}`' for name in names)} | {default} | {field.description}{choices} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(build_page(), encoding="utf-8")
