"""
The installation under test: its addresses and its accounts.

The variables that `make env` prints come from the environment if KNS_URL is set there, otherwise from the demo's own
code, so a plain `pytest tests/e2e` on a machine with the testbed up works as well.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx

from demo import environment, install
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.overlay import DEPLOYMENT, NAMESPACE
from demo.target import Target, choose_target
from kns.client import ApiKey
from tests.e2e.kubectl import PatientKubectl
from tests.e2e.waiting import PATIENCE, POLL_S

_READY_S = 20.0  # as long as kns may be without an answer of a busy host
REQUIRE = "KNS_E2E_REQUIRED"
_ACCOUNTS = ("KNS", "KNS_ADMIN", "KNS_OTHER", "KNS_PAYER")
_NEEDED = ("KNS_URL", *(f"{prefix}_{part}" for prefix in _ACCOUNTS for part in ("USERNAME", "APIKEY")))
REALM_KEY = "KNS_REALM_PRIVATE_KEY"


class NoClusterError(Exception):
    """There is no installation to test; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Site:
    """
    A running kns: its cluster, its API, its ingress controller ("" if the jobs' names resolve), accounts.

    `user` and `other` are one team, `payer` leads it. `realm_key` is the file of the private key with which the realm
    signs tokens, "" if this machine does not have it.
    """

    target: Target
    kubectl: Kubectl
    url: str
    ingress_url: str
    user: ApiKey
    other: ApiKey
    payer: ApiKey
    admin: ApiKey
    realm_key: str


@contextlib.contextmanager
def find_site(environ: Mapping[str, str] = os.environ) -> Iterator[Site]:
    """
    The installation that the environment names, otherwise the testbed's.

    Raises:
        NoClusterError: no cluster, or no kns on it that answers.
    """
    with contextlib.ExitStack() as stack:
        try:
            target = choose_target(environ)
            Kubectl.of(target).run("get", "--raw", "/readyz", timeout_s=10)
            kubectl = PatientKubectl.of(target)
            kubectl.get("deployment", DEPLOYMENT, f"--namespace={NAMESPACE}")
            variables = dict(environ) if environ.get("KNS_URL") else environment.build(target, kubectl)
            if not environ.get("KNS_URL"):
                variables["KNS_URL"] = stack.enter_context(install.reach_api(target, kubectl))
        except DemoError as error:
            first_line = str(error).partition("\n")[0]  # the rest is usage
            raise NoClusterError(
                f"no kns on a cluster: {first_line}; run `make up`, or set KUBECONFIG and KNS_URL"
            ) from error
        yield _build_site(target, kubectl, variables)


def _build_site(target: Target, kubectl: Kubectl, variables: Mapping[str, str]) -> Site:
    if missing := [name for name in _NEEDED if not variables.get(name)]:
        raise NoClusterError(f"KNS_URL is set, but not {', '.join(missing)}; `make env` prints them all")
    url = variables["KNS_URL"].rstrip("/")
    deadline = time.monotonic() + _READY_S * PATIENCE
    while True:
        try:
            ready = httpx.get(f"{url}/ready", timeout=10 * PATIENCE, trust_env=False)
        except httpx.HTTPError as error:
            raise NoClusterError(f"GET {url}/ready: {error}; run `make up`") from error
        if ready.status_code != 503 or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    if ready.status_code != 200:
        raise NoClusterError(f"GET {url}/ready: {ready.status_code} {ready.text.strip()}; see `make status`")
    return Site(
        target=target,
        kubectl=kubectl,
        url=url,
        ingress_url=variables.get("KNS_INGRESS_URL", ""),
        user=_account(variables, "KNS"),
        other=_account(variables, "KNS_OTHER"),
        payer=_account(variables, "KNS_PAYER"),
        admin=_account(variables, "KNS_ADMIN"),
        realm_key=variables.get(REALM_KEY, ""),
    )


def _account(variables: Mapping[str, str], prefix: str) -> ApiKey:
    return ApiKey(variables[f"{prefix}_USERNAME"], variables[f"{prefix}_APIKEY"])
