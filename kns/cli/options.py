"""Options that commands share."""

from typing import Annotated

import typer

from kns.model.appdef.versions import parse_versions
from kns.model.errors import InvalidInputError


def _check_versions(text: str) -> str:
    try:
        parse_versions(text)
    except InvalidInputError as error:
        raise typer.BadParameter(error.problem) from error
    return text


KubernetesVersions = Annotated[
    str,
    typer.Option(
        "--kubernetes-versions",
        envvar="KNS_KUBERNETES_VERSIONS",
        metavar="LIST",
        callback=_check_versions,
        help="Versions that the site offers: comma list, the default first, as in the variable of that name.",
    ),
]


def list_minors(versions: str) -> tuple[str, ...]:
    """
    Newest first, as people read them.

    >>> list_minors("v1.36.0,v1.35.0")
    ('v1.36', 'v1.35')
    """
    return tuple(reversed(parse_versions(versions)))
