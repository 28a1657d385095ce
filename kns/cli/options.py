"""Options of several commands."""

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
        help="Comma-separated Kubernetes versions of the site, the default first, as in the variable.",
    ),
]


def list_minors(versions: str) -> tuple[str, ...]:
    """
    The minor versions, the default first.

    >>> list_minors("v1.36.0,v1.35.0")
    ('v1.36', 'v1.35')
    """
    return tuple(reversed(parse_versions(versions)))
