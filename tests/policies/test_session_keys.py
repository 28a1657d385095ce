"""The key of the page's sessions on a real API server: kns may make its Secret, and may not change or delete it."""

import time
from typing import Any

import pytest

from kns.model import names
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError, make_namespace_with_all_rights

NAMESPACE = "kns-page"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:kns-sa"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


def secret(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"key": "eA=="},
    }


@pytest.fixture(scope="module")
def installed(api: ApiServer) -> ApiServer:
    """An account of that name with every right in its namespace, so that only the policy refuses."""
    make_namespace_with_all_rights(api, NAMESPACE)
    deadline = time.monotonic() + PATIENCE_S  # the authoriser and the policy follow within a moment
    while "in its own namespace kns writes" not in refusal(api, "POST", SECRETS, secret("anything")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return api


def refusal(api: ApiServer, method: str, path: str, body: dict[str, Any] | None = None) -> str:
    """Why kns's account may not do that; "" if it may. Nothing is stored."""
    try:
        api.call(method, f"{path}?dryRun=All", body, user=ACCOUNT)
    except RefusedError as error:
        return str(error)
    return ""


def test_kns_makes_the_key_and_never_changes_it(installed: ApiServer) -> None:
    name = names.WEB_SESSION_SECRET
    assert refusal(installed, "POST", SECRETS, secret(name)) == ""
    installed.call("POST", SECRETS, secret(name))
    for method, body in (("PUT", secret(name)), ("DELETE", None)):
        assert "never its own settings" in refusal(installed, method, f"{SECRETS}/{name}", body)
