"""The addresses and accounts that are needed to use the cluster, as shell assignments."""

import shlex
from collections.abc import Mapping

from demo import accounts, install, overlay, realm
from demo.files import write_private
from demo.kubectl import Kubectl
from demo.target import Target

# Variable prefix -> account.
_WHO = {"KNS": "user1", "KNS_ADMIN": "admin1", "KNS_OTHER": "user2", "KNS_PAYER": "payer1"}

# PAGE are the curl arguments for the job's page.
_SUBMIT_SOMETHING = r"""
ask() { printf 'X-API-Username: %s\nX-API-Key: %s\n' "$KNS_USERNAME" "$KNS_APIKEY" |  # so that `ps` shows no key
  curl -s --noproxy '*' -H @- "$KNS_URL/jarvice/$1" "${@:2}"; }
job() { ask "$1?number=${N:?}" "${@:2}"; }
ANSWER=$(ask submit -d '{"app": "three-kinds", "machine": {"type": "kns-small"}}'); echo "$ANSWER"
N=$(echo "$ANSWER" | sed -n 's/.*"number": *\([0-9]*\).*/\1/p')
until job info -f || job output -f; do sleep 1; done      # URL and password as soon as it serves; or why it ended
job tail                                                  # what its templates printed
curl -sf --noproxy '*' --retry 60 --retry-delay 1 --retry-all-errors PAGE
job shutdown                                              # a running job; `job terminate` ends any, at any time
until job output -f; do sleep 1; done                     # the lines of an ended job"""


def write(target: Target, kubectl: Kubectl) -> str:
    """
    Write `env.sh` to the state folder. Returns its text.

    Raises:
        DemoError: kns is not installed.
    """
    text = render(build(target, kubectl))
    write_private(target.state / "env.sh", text)
    return text


def build(target: Target, kubectl: Kubectl) -> dict[str, str]:
    """
    The variables by name.

    On another cluster than the testbed, KNS_URL is the address of a `kubectl port-forward` that the user starts.
    """
    address = install.service_address(kubectl)
    variables = {
        "KUBECONFIG": target.kubeconfig,
        "KNS_URL": f"http://{address if target.is_testbed else '127.0.0.1'}:8080",
        "KNS_INGRESS_URL": target.ingress_url,
    }
    if overlay.REALM_PUBLIC_KEY not in target.overrides:  # otherwise kns accepts the tokens of another realm
        variables["KNS_REALM_PRIVATE_KEY"] = str(realm.private_key_file(target.state))
    keys = accounts.load_keys(target.state)
    for prefix, username in _WHO.items():
        variables |= {f"{prefix}_USERNAME": username, f"{prefix}_APIKEY": keys[username]}
    return variables


def render(variables: Mapping[str, str]) -> str:
    """
    The variables as assignments for a shell.

    >>> render({"A": "b c"})
    "export A='b c'\\n"
    """
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def describe_next_steps(target: Target) -> str:
    """
    The commands to submit another job. They can be pasted at once, and README.md has them too.
    """
    where = shlex.quote(str(target.state / "env.sh"))
    forward = (
        "" if target.is_testbed else "kubectl port-forward -n kns-system svc/jarvice-kns-scheduler 8080 & sleep 2\n"
    )
    path = f'export PATH="{target.kubectl.parent}:$PATH"  # kubectl\n' if target.is_testbed else ""
    return f"""\
. {where}        # the same as: eval "$(make -s env)"
{forward}{path}{_submit_something(target)}
The same with the public client (pip install jarviceclient3), and without HTTP:
  jarvice_cli -apiurl "$KNS_URL" -username "$KNS_USERNAME" -apikey "$KNS_APIKEY" jobs
  kubectl apply -f examples/job.yaml && kubectl get nj -n kns-system
From submit to nothing left once more: make demo ARGS="--app three-kinds"       `make down` takes everything away."""


def _submit_something(target: Target) -> str:
    page = '-H "Host: kns-job-$N.jobs.localhost" "$KNS_INGRESS_URL/"'
    if not target.is_testbed:
        page = r"""$(job info | sed -n 's/.*"url": "\([^"]*\)".*/\1/p')"""
    return _SUBMIT_SOMETHING.strip().replace("PAGE", page)
