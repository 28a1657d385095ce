"""
A client of our image registry: the part of the distribution protocol that pushes an image and looks one up.

Layers are pushed uncompressed, because on one machine compression costs more than it saves.
"""

import hashlib
import http.client
import json
import pathlib
from dataclasses import dataclass, field
from typing import Any

from testbed import layout
from testbed.errors import TestbedError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
ACCEPTED = f"{MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.v2+json"
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Reference:
    """
    An image name as the registry stores it: path and tag, without the registry host.
    """

    path: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """
        Split a full image name.

        >>> Reference.parse("docker.io/library/busybox:1.35")
        Reference(path='library/busybox', tag='1.35')
        >>> Reference.parse("localhost/kns:dev")
        Reference(path='kns', tag='dev')
        >>> Reference.parse("busybox")
        Reference(path='library/busybox', tag='latest')
        """
        name, _, tag = text.rpartition(":")
        if not name or "/" in tag:
            name, tag = text, "latest"
        first, _, rest = name.partition("/")
        if rest and ("." in first or ":" in first or first == "localhost"):
            is_hub = first == "docker.io"
            path = rest
        else:
            is_hub, path = True, name
        if is_hub and "/" not in path:
            path = f"library/{path}"
        return cls(path, tag)

    @property
    def local(self) -> str:
        """
        The name that skopeo and buildah use.
        """
        return f"{layout.REGISTRY}/{self.path}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Config:
    """
    How a container of an image starts.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def digest(reference: Reference) -> str | None:
    """
    The digest of the image that the registry has under this name; None if it has none.
    """
    status, headers, _ = _call("HEAD", f"/v2/{reference.path}/manifests/{reference.tag}", accept=ACCEPTED)
    return headers.get("docker-content-digest") if status == 200 else None


def size_bytes(reference: Reference) -> int:
    """
    The number of bytes that a pull of this image transfers.
    """
    status, _, body = _call("GET", f"/v2/{reference.path}/manifests/{reference.tag}", accept=ACCEPTED)
    if status != 200:
        raise TestbedError(f"the registry has no {reference.local} (status {status})")
    manifest: dict[str, Any] = json.loads(body)
    return sum(int(part["size"]) for part in [manifest["config"], *manifest["layers"]])


def push(reference: Reference, layer: pathlib.Path, config: Config) -> str:
    """
    Push an image of one uncompressed layer. Returns its digest.
    """
    layer_digest = _file_digest(layer)
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.command),
            "Env": list(config.env),
            "User": config.user,
            "WorkingDir": "/",
            "Labels": config.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "kns testbed"}],
    }
    blob = json.dumps(document, sort_keys=True).encode()
    config_digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    _upload(reference.path, layer_digest, layer)
    _upload(reference.path, config_digest, blob)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(blob)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer_digest, "size": layer.stat().st_size}],
        },
        sort_keys=True,
    ).encode()
    url = f"/v2/{reference.path}/manifests/{reference.tag}"
    status, headers, body = _call("PUT", url, content=manifest, content_type=MANIFEST_TYPE)
    if status != 201:
        raise TestbedError(f"the registry refused the manifest of {reference.local}: {status} {body[:300]!r}")
    return headers["docker-content-digest"]


def _upload(path: str, blob_digest: str, content: bytes | pathlib.Path) -> None:
    status, _, _ = _call("HEAD", f"/v2/{path}/blobs/{blob_digest}")
    if status == 200:
        return
    status, headers, body = _call("POST", f"/v2/{path}/blobs/uploads/")
    if status != 202:
        raise TestbedError(f"the registry opened no upload for {path}: {status} {body[:300]!r}")
    # The registry answers with a complete upload URL, of which only path and query are used.
    location = headers["location"].split(layout.REGISTRY, 1)[-1]
    location += ("&" if "?" in location else "?") + f"digest={blob_digest}"
    status, _, body = _call("PUT", location, content=content, content_type="application/octet-stream")
    if status != 201:
        raise TestbedError(f"the registry refused {blob_digest} of {path}: {status} {body[:300]!r}")


def _call(
    method: str,
    url: str,
    *,
    content: bytes | pathlib.Path | None = None,
    content_type: str | None = None,
    accept: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": content_type} if content_type else {}
    if accept:
        headers["Accept"] = accept
    connection = http.client.HTTPConnection(layout.REGISTRY, timeout=TIMEOUT_S)
    try:
        if isinstance(content, pathlib.Path):
            headers["Content-Length"] = str(content.stat().st_size)
            with content.open("rb") as stream:
                connection.request(method, url, body=stream, headers=headers)
                answer = connection.getresponse()
        else:
            connection.request(method, url, body=content, headers=headers)
            answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except OSError as err:
        raise TestbedError(f"{method} {url} on the registry {layout.REGISTRY}: {err}; is the testbed up?") from err
    finally:
        connection.close()


def _file_digest(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
