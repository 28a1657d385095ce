"""
The audit log of an API server: its policy, its flags, and its entries.

The testbed's API server logs the requests of the service accounts that tests examine, and nothing else. Tests and
benchmarks with an API server of their own use the same policy, flags and reader.
"""

import json
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from testbed import layout, paths

MAX_LOG_MIB = 16  # about 13,000 entries; a run of the end-to-end tests of the Posit plugin makes some 100
BACKUPS = 1  # rotated files that the API server keeps, so the folder never exceeds two files
# A request is logged when its answer is complete. Watches, logs and commands are also logged when their answer begins,
# because they may still be open when the log is read.
_NOT_LOGGED = ("RequestReceived",)


class AuditError(Exception):
    """Entries of the log were lost, or one cannot be read."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    One entry. `resource` includes the subresource, as in a Role: `pods/log`. It is empty if the request was not about
    a resource; `path` is then what it was about. `namespace` is empty for cluster-scoped resources. `uid` is that of
    the user, and differs between two service accounts with the same name. `status` is 0 if it is not known.
    """

    user: str
    uid: str
    agent: str
    verb: str
    group: str
    resource: str
    namespace: str
    path: str
    status: int


def build_policy(rules: Sequence[dict[str, Any]], *, not_logged: Sequence[str] = _NOT_LOGGED) -> dict[str, Any]:
    """
    A policy that logs who asked what, without bodies, for requests that match one of the rules.

    Args:
        rules: the conditions of the rules, for example {"users": ["admin"]}.
        not_logged: stages of a request without an entry.
    """
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": list(not_logged),
        "rules": [*({"level": "Metadata", **rule} for rule in rules), {"level": "None"}],
    }


def build_flags(policy: pathlib.Path, log: pathlib.Path, *, max_mib: int = MAX_LOG_MIB) -> list[str]:
    """
    The flags of kube-apiserver.
    """
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        f"--audit-log-maxsize={max_mib}",
        f"--audit-log-maxbackup={BACKUPS}",
    ]


def render_policy(namespaces: Sequence[str] = layout.AUDITED_NAMESPACES) -> str:
    """
    The policy of the testbed as JSON, which is also YAML: all requests of these namespaces' service accounts.
    """
    groups = [f"system:serviceaccounts:{namespace}" for namespace in namespaces]
    return json.dumps(build_policy([{"userGroups": groups}]), indent=1) + "\n"


def policy_file() -> pathlib.Path:
    """
    The testbed's policy. The API server reads it only when it starts, so its name changes with its content: `up`
    restarts a part whose flags changed.
    """
    digest = sha256(render_policy().encode()).hexdigest()[:8]
    return paths.CONFIG / f"audit-policy-{digest}.yaml"


class AuditLog:
    """
    The log at `path`, with the rotated files that the API server keeps beside it. Each reading continues where the
    last one ended.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._inode: int | None = None  # of the file that was read last
        self._offset = 0

    def read_new(self) -> Iterator[Request]:
        """
        The requests since the last reading, the oldest first. None if there is no log.

        Raises:
            AuditError: the log was rotated so often that entries were lost, or an entry cannot be read.
        """
        for file in self._list_unread():
            yield from self._read(file)

    def _list_unread(self) -> list[pathlib.Path]:
        # The API server renames a full file to a name with the time, such as audit-2026-11-28T20-24-57.123.log.
        rotated = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"))
        files = [*rotated, *([self._path] if self._path.exists() else [])]
        if self._inode is None:
            return files
        inodes = [file.stat().st_ino for file in files]
        if self._inode not in inodes:
            raise AuditError(
                f"{self._path} was rotated more than {BACKUPS} times since the last reading; read it earlier"
            )
        return files[inodes.index(self._inode) :]

    def _read(self, file: pathlib.Path) -> Iterator[Request]:
        with file.open("rb") as lines:
            inode = file.stat().st_ino
            if inode != self._inode:
                self._inode, self._offset = inode, 0
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):  # the server is writing it
                    return
                self._offset += len(line)
                yield _parse(line, file)


def _parse(line: bytes, file: pathlib.Path) -> Request:
    try:
        event = json.loads(line)
        about = event.get("objectRef") or {}
        resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
        return Request(
            user=event["user"]["username"],
            uid=event["user"].get("uid", ""),
            agent=event.get("userAgent", ""),
            verb=event["verb"],
            group=about.get("apiGroup", ""),
            resource=resource,
            namespace=about.get("namespace", ""),
            path=event.get("requestURI", "").partition("?")[0],
            status=int((event.get("responseStatus") or {}).get("code") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuditError(f"{file}: an entry cannot be read: {error!r}") from error
