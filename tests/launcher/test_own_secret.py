"""A user cannot have the plugin's own token as a variable or a file of a job."""

import base64
import json
from typing import Any

import pytest

from kns.launcher.own_secret import check_secrets, find_own_secret
from kns.launcher.policy import apply_profile
from kns.launcher.ports import Profile
from kns.model.errors import InvalidInputError
from tests.launcher.cluster import NAMESPACE, Cluster
from tests.launcher.conftest import Start

SECRET = "job-launcher-token"
CLAIMS = {
    "kubernetes.io/serviceaccount/namespace": NAMESPACE,
    "kubernetes.io/serviceaccount/secret.name": SECRET,
}


def a_token(claims: Any) -> str:
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.tail"


def a_volume(source: dict[str, Any], kind: str = "passthrough") -> dict[str, Any]:
    return {"mounts": [{"mountPath": "/x", "type": kind, "source": source}]}


READS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("variable", {"config": [{"name": "secret", "value": f"{SECRET}:token:T"}]}),
    ("volume", a_volume({"secret": {"secretName": SECRET}})),
    ("part of a volume", a_volume({"projected": {"sources": [{"secret": {"name": SECRET}}]}})),
    ("driver", a_volume({"csi": {"driver": "d", "nodePublishSecretRef": {"name": SECRET}}})),
    ("Azure", a_volume({"secretName": SECRET, "shareName": "s"}, "azureFile")),
    ("Ceph", a_volume({"monitors": ["m"], "secretRef": {"name": SECRET}}, "cephFs")),
)


@pytest.mark.parametrize("given", [each for _, each in READS], ids=[name for name, _ in READS])
def test_a_job_that_reads_it_is_refused(given: dict[str, Any]) -> None:
    data = {"name": "a", "container": {"image": "i"}, **given}
    job = apply_profile(data, Profile(), user="ana", share_process_namespace=True)
    with pytest.raises(InvalidInputError, match="no job may read it"):
        check_secrets(job, SECRET)
    check_secrets(job, "another")
    check_secrets(job, "")


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (a_token(CLAIMS), SECRET),
        (a_token({**CLAIMS, "kubernetes.io/serviceaccount/namespace": "other"}), ""),  # out of reach of the jobs
        (a_token({"kubernetes.io": {"namespace": NAMESPACE}, "exp": 1}), ""),  # of a TokenRequest: in no Secret
        (a_token([]), ""),
        ("head.body.tail", ""),
        ("opaque", ""),
        ("", ""),
    ],
)
def test_the_token_says_where_it_is_from(token: str, found: str) -> None:
    assert find_own_secret(token, namespace=NAMESPACE) == found


@pytest.mark.proves("security", "read the plugin's own token from its Secret, by a variable or a volume of a job")
def test_the_running_plugin_refuses_it(start: Start, cluster: Cluster) -> None:
    plugin = start(auth_token=a_token(CLAIMS))
    assert plugin.bootstrap()["messageType"] == 1
    before = cluster.jobs()
    job = {"name": "a", "user": "ana", "container": {"image": "i"}, "command": "env", **READS[0][1]}
    answer = plugin.ask(2, username="ana", job=job)
    assert (answer["messageType"], answer["errorCode"]) == (-1, 2)
    assert SECRET in answer["errorMessage"]
    assert cluster.jobs() == before
    plugin.submit(command="env", config=[{"name": "secret", "value": "other:token:T"}])
