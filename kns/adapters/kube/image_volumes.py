"""Whether pods of the host can have images as volumes, so that the init pod needs one container only."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.logs import get_logger
from kns.model.errors import ForbiddenError, NotFoundError
from kns.model.findings import Finding, Severity

log = get_logger(__name__)

Object = Mapping[str, Any]
_Version = tuple[int, int]

_STABLE_SINCE: _Version = (1, 36)  # of the API server; cannot be turned off from there
_KUBELET_SINCE: _Version = (1, 35)  # on by default
_RUNTIMES_SINCE: dict[str, _Version] = {"containerd": (2, 1), "cri-o": (1, 31)}  # with mounts of a part of the image
_NODES_SHOWN = 5


def can_mount_images(client: KubeClient) -> bool:
    """
    Whether the version of the host says so. False if the host does not tell its version.

    Raises:
        TransientError: the host does not answer now.
    """
    try:
        return _has_image_volumes(client.request("GET", "/version"))
    except (NotFoundError, ForbiddenError) as error:
        log.warning("host_version_unknown", error=str(error), help="set KNS_IMAGE_VOLUMES to speed up starts")
        return False


def check_image_volumes(version: Object, setting: bool | None, nodes: Iterable[Object]) -> Iterator[Finding]:
    """
    The nodes of jobs that cannot mount images, if kns uses such volumes. A kubelet may be older than the API server.

    `version` is the host's answer to /version, `setting` that of KNS_IMAGE_VOLUMES. A node that does not tell its
    versions is left out.
    """
    if not (_has_image_volumes(version) if setting is None else setting):
        return
    unfit = [f"{node['metadata']['name']} ({reason})" for node in nodes if (reason := _find_obstacle(node))]
    if unfit:
        more = f" and {len(unfit) - _NODES_SHOWN} more" if len(unfit) > _NODES_SHOWN else ""
        said = f"nodes that cannot mount images: {', '.join(unfit[:_NODES_SHOWN])}{more}"
        yield Finding("image volumes", Severity.FAULT, said, "set KNS_IMAGE_VOLUMES=false, or update these nodes")


def _has_image_volumes(version: Object) -> bool:
    return _read(f"{version.get('major')}.{version.get('minor')}") >= _STABLE_SINCE


def _find_obstacle(node: Object) -> str | None:
    """What of this node is too old, and its version; None if nothing is."""
    info: Object = (node.get("status") or {}).get("nodeInfo") or {}
    kubelet = str(info.get("kubeletVersion") or "")
    runtime = str(info.get("containerRuntimeVersion") or "")
    if kubelet and _read(kubelet) < _KUBELET_SINCE:
        return f"kubelet {kubelet}"
    name, _, version = runtime.partition("://")
    needed = _RUNTIMES_SINCE.get(name)
    if runtime and (needed is None or _read(version) < needed):
        return runtime
    return None


def _read(version: str) -> _Version:
    """
    Major and minor number; (0, 0) if the text has none.

    >>> _read("v1.35.2-gke.1"), _read("2.4.2+unknown"), _read("")
    ((1, 35), (2, 4), (0, 0))
    """
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
