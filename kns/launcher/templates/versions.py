"""The version comment in the first line of every template."""

import re

from kns.launcher.templates.errors import TemplateError

OWN_VERSION = "1"  # of the default templates, and of the documents
VERSIONS = ("1", "2", "2.1.0", "2.3.0", "2.3.1", "2.4.0", "2.5.0")  # published generations whose fields exist here

_COMMENT = re.compile(r"#\s*Version:\s*(\S+)\s*")


def check_version(file: str, source: str) -> str:
    """
    The version of a template.

    Raises:
        TemplateError: the first line is no version comment, or names a version that is not known.
    """
    first = source.removeprefix("\ufeff").split("\n", 1)[0].rstrip("\r")
    match = _COMMENT.fullmatch(first)
    if match is None:
        raise TemplateError(file, 1, f"must begin with the line '# Version: {OWN_VERSION}', not {first[:60]!r}")
    if match[1] not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise TemplateError(
            file, 1, f"version {match[1][:20]!r} is not known (known: {known}); compare it by --diff-templates"
        )
    return match[1]
