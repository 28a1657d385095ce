"""
What an account of the plugin asked the API server, from its audit log, beside what the minimal Role allows.

The log has two gaps, and both are known. A WebSocket to `pods/exec` or `pods/attach` begins with a GET, so its entry
has the verb `get`, although Kubernetes 1.35 and later also want the right to `create`. Requests for no resource
(`/version`) need no Role.
"""

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import httpx

from kns.launcher.tools.roles import MINIMAL, NODES, Rules
from testbed.audit import AuditLog, Request
from tests.patience import PATIENCE_S

_ANSWER_S = 60.0  # of the API server; some tests shorten the wait for its log

# Without these, the API server refuses a command or an input in a container; but no entry ever has them.
NEVER_LOGGED = frozenset({"create pods/exec", "create pods/attach"})
# Hosts before Kubernetes 1.34 send lists in pages; the others stream them, by the right to watch.
IN_PAGES = frozenset({"list jobs.batch", "list pods", "list services"})
# What Kubernetes lets every account read (ClusterRoles system:discovery and system:public-info-viewer).
_OPEN_TO_ALL = frozenset({"/version", "/apis/metrics.k8s.io/v1beta1"})
_REFUSED = (401, 403)
_PROBE = "kns-tests-probe"  # user agent of a request that is beyond the Role on purpose


@dataclass(frozen=True, slots=True)
class Asked:
    """
    `count` is the number of entries. `beyond` has the requests that no rule allows, `refused` those that the API server
    did not authorize, `unused` the rules that no request needed. Each is a text such as `get pods/log`.
    """

    count: int
    beyond: Set[str]
    refused: Set[str]
    unused: Set[str]


def read_asked(conf: Path, log: Path, *, namespace: str) -> Asked:
    """
    What the plugin with this configuration asked so far, and everybody else with its account's token.

    A request beyond the Role comes first: it must be refused and found in the log, and everything before it is in the
    log then. So an API server without the log, or with another policy, makes the test fail.
    """
    settings = dict(line.split("=", 1) for line in conf.read_text().splitlines())
    token = Path(settings["auth-token-path"]).read_text().strip()
    probe = f"{_PROBE}/{secrets.token_hex(4)}"
    uid = _read_account(token)
    _ask_beyond(settings, token, namespace, agent=probe)
    reader, requests = AuditLog(log), list[Request]()
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not any(each.agent == probe for each in requests):
        is_late = time.monotonic() > deadline or not log.exists()  # the API server makes the file when it starts
        assert not is_late, (
            f"{log} has no entry of a request that was just made: the API server runs without this audit log or with "
            "another policy; `make up` restarts the testbed's"
        )
        pause.wait(0.1)
        requests += [each for each in reader.read_new() if each.uid == uid]
    found = compare([each for each in requests if each.agent == probe], namespace=namespace)
    assert found.beyond == found.refused == {f"list configmaps in {namespace}"}
    return compare([each for each in requests if not each.agent.startswith(_PROBE)], namespace=namespace)


def compare(requests: Iterable[Request], *, namespace: str) -> Asked:
    """Compare the requests of one account with the Role in its namespace, and with the ClusterRole for nodes."""
    allowed = {(namespace, *right): text for right, text in _list_rights(MINIMAL)}
    allowed |= {("", *right): text for right, text in _list_rights(NODES)}
    count, beyond, refused, used = 0, set[str](), set[str](), set[str]()
    for each in requests:
        count += 1
        if each.status in _REFUSED:
            refused.add(_describe(each))
        right = (each.namespace, each.group, each.resource, each.verb)
        if right in allowed:
            used.add(allowed[right])
        elif each.resource or each.verb != "get" or each.path not in _OPEN_TO_ALL:
            beyond.add(_describe(each))
    return Asked(count, frozenset(beyond), frozenset(refused), frozenset(allowed.values()) - used)


def _ask_beyond(settings: dict[str, str], token: str, namespace: str, *, agent: str) -> None:
    authority = ssl.create_default_context(cadata=base64.b64decode(settings["certificate-authority"]).decode())
    answer = httpx.get(
        f"{settings['api-url']}/api/v1/namespaces/{namespace}/configmaps",
        headers={"Authorization": f"Bearer {token}", "User-Agent": agent},
        verify=authority,
        trust_env=False,
        timeout=_ANSWER_S,
    )
    assert answer.status_code == 403, answer.text


def _read_account(token: str) -> str:
    """The uid of the service account. Another account of its name, of an earlier run, has another one."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["kubernetes.io"]["serviceaccount"]["uid"])


def _list_rights(rules: Rules) -> Iterator[tuple[tuple[str, str, str], str]]:
    for (group, resource), verbs in rules.items():
        for verb in verbs:
            yield (group, resource, verb), f"{verb} {_name(group, resource)}"


def _describe(request: Request) -> str:
    what = _name(request.group, request.resource) if request.resource else request.path
    return f"{request.verb} {what}{f' in {request.namespace}' if request.namespace else ''}"


def _name(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource
