"""
The way to a job's own cluster through kns, for users without access to the host cluster: `/kns/cluster/NUMBER`.

kns adds the credentials of the job's cluster. The kubeconfig has those of the user for kns: an API key or a token as it
is, and a sign-in by Keycloak as a program that kubectl calls, because its tokens live for minutes.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from kns.cli.exits import CommandError, Exit
from kns.cli.session import Session, get_session
from kns.client import ApiKey, Bearer, Client, Credentials
from kns.client.http import read_error

CREDENTIAL_COMMAND = "cluster-credential"
_API = "client.authentication.k8s.io/v1"

credentials = typer.Typer()


def check_gateway(session: Session, client: Client, number: int) -> None:
    """
    Raises:
        CommandError: kns does not lead to the job's cluster. The message has its reason.
        NoResponseError: kns does not answer.
    """
    if not session.url.startswith("https://"):
        raise CommandError(
            Exit.USAGE,
            f"kubectl sends credentials over TLS only; use the https:// address of kns in place of {session.url}",
        )
    response = client.ask("version", prefix=f"/kns/cluster/{number}")
    if response.status_code == 200:
        return
    try:
        said = str(response.json()["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CommandError(
            Exit.REFUSED, f"this kns has no way to the clusters of jobs: {read_error(response)}; ask for a newer one"
        ) from None
    raise CommandError(Exit.REFUSED, said.removeprefix("kns: "))


def build_kubeconfig(session: Session, number: int) -> str:
    """The kubeconfig (YAML) of the job's cluster through kns."""
    cluster: dict[str, Any] = {"server": f"{session.url}/kns/cluster/{number}"}
    authority = session.surroundings.environ.get("SSL_CERT_FILE")
    if authority:
        # kubectl would look for a relative one in the folder of the kubeconfig.
        cluster["certificate-authority"] = str(Path(authority).absolute())
    name = f"kns-job-{number}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": "kns", "user": _build_user(session, session.find_credentials())}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "kns", "namespace": "default"}}],
            "current-context": name,
        }
    )


def _build_user(session: Session, given: Credentials) -> dict[str, Any]:
    if isinstance(given, ApiKey):
        return {"username": given.username, "password": given.apikey}
    if isinstance(given, Bearer):
        return {"token": given.token}
    program = shutil.which("kns", path=session.surroundings.environ.get("PATH"))
    command, *first = [program] if program else [sys.executable, "-m", "kns"]
    arguments = [*first, "--profile", session.profile_name, "--url", session.url, CREDENTIAL_COMMAND]
    return {"exec": {"apiVersion": _API, "command": command, "args": arguments, "interactiveMode": "Never"}}


@credentials.command(CREDENTIAL_COMMAND, hidden=True)
def show_credential(ctx: typer.Context) -> None:
    """Print the token of the profile for kubectl, which calls this."""
    given = get_session(ctx).find_credentials()
    if isinstance(given, ApiKey):
        raise CommandError(Exit.USAGE, "the profile has an API key, which kubectl takes from the kubeconfig")
    token = given.token if isinstance(given, Bearer) else given.read()
    typer.echo(json.dumps({"apiVersion": _API, "kind": "ExecCredential", "status": {"token": token}}))
