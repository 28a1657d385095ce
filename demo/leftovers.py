"""
Prove that no object of an ended job is left: no namespace, and no object of any kind with its label or name. The
record, its tokens and its output are kept on purpose.
"""

import re
from dataclasses import dataclass

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE


@dataclass(frozen=True, slots=True)
class Leftovers:
    """`kept` belongs to the record, `strays` should not exist. Both are `kind namespace/name`."""

    kinds: int
    kept: list[str]
    strays: list[str]


def find_leftovers(kubectl: Kubectl, number: int) -> Leftovers:
    """
    Search all kinds that can be listed, including cluster-scoped ones.
    """
    columns = "--output=custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name"
    namespaced = _kinds(kubectl, namespaced=True)
    cluster_wide = _kinds(kubectl, namespaced=False)
    selector = f"--selector=kns.io/job={number}"
    listed = [
        *_rows(kubectl, ",".join(namespaced), "--all-namespaces", selector, columns),
        *_rows(kubectl, ",".join(cluster_wide), columns),
    ]
    labelled_globals = _rows(kubectl, ",".join(cluster_wide), selector, columns)
    kept, strays = sort_rows(listed, labelled_globals, number)
    return Leftovers(kinds=len(namespaced) + len(cluster_wide), kept=kept, strays=strays)


def sort_rows(
    listed: list[tuple[str, str, str]], labelled_globals: list[tuple[str, str, str]], number: int
) -> tuple[list[str], list[str]]:
    """
    Sort rows `(kind, namespace or "", name)` into those that are kept on purpose and the others.

    `listed` has the namespaced objects with the job's label, and all cluster-scoped objects.
    """
    of_job = re.compile(rf"(^|[^0-9a-z])kns-job-{number}($|[^0-9])")
    kept, strays = [], []
    for kind, namespace, name in [*listed, *labelled_globals]:
        line = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        if namespace == NAMESPACE:
            kept.append(line)
        elif namespace or of_job.search(name) or (kind, namespace, name) in labelled_globals:
            strays.append(line)
    return sorted(set(kept)), sorted(set(strays))


def _kinds(kubectl: Kubectl, *, namespaced: bool) -> list[str]:
    scope = f"--namespaced={'true' if namespaced else 'false'}"
    return kubectl.run("api-resources", "--verbs=list", scope, "--output=name").split()


def _rows(kubectl: Kubectl, *arguments: str) -> list[tuple[str, str, str]]:
    text = kubectl.run("get", *arguments, "--no-headers", "--ignore-not-found", timeout_s=60)
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("No resources")]
    return [(kind, "" if namespace == "<none>" else namespace, name) for kind, namespace, name in rows]
