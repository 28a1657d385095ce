"""
What kubectl says when an item can never succeed, however often it is tried.

Only faults that are certain are listed: those of the item's own manifest, which no attempt changes. A kind that is not
known yet, a missing namespace, an object that is not valid at the moment: another item or a controller inside may
change that, so they are retried. docs/decisions/0025 has the reasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Fault:
    said: re.Pattern[str]
    """kubectl's words, as of 1.30 to 1.36."""
    meaning: str
    """What is wrong and what to do."""
    of_any_source: bool = False
    """Holds also for a manifest behind a URL: whoever serves it may be failing, and send an error page instead."""


_FAULTS = (
    _Fault(
        re.compile(r"cannot use generate name with apply$"),
        "an object has metadata.generateName, which kubectl apply does not take; give it metadata.name, or create it "
        "in an item of type custom with kubectl create -f",
        of_any_source=True,
    ),
    _Fault(
        re.compile(r": resource name may not be empty$|missing metadata\.name in object"),
        "an object has no metadata.name; kubectl apply and kustomize need one (metadata.generateName does not do). To "
        "let Kubernetes choose the name, use an item of type custom with kubectl create -f",
    ),
    _Fault(
        re.compile(r"Request entity too large: limit is \d+|Too long: may not be more than 1048576 bytes"),
        "an object is larger than Kubernetes stores; split it, or put large files into an image or a volume",
        of_any_source=True,
    ),
    _Fault(
        re.compile(r'^error: the path ".*" does not exist$'),
        "the file is not in /templates of the app's image; correct path, or add the file to the image",
    ),
    _Fault(
        re.compile(r"^error: error reading \[.*\]: recognized file extensions are"),
        "the folder has no manifests; their names must end in .json, .yaml or .yml",
    ),
    _Fault(re.compile(r"^error: error parsing .*: "), "the manifest is not valid YAML or JSON; correct it"),
    _Fault(re.compile(r"^error: no objects passed to apply$"), "the manifest has no objects; add some"),
    _Fault(
        re.compile(r"error validating data: \[?(apiVersion|kind) not set"),
        "an object has no apiVersion or no kind; add it",
    ),
    _Fault(re.compile(r"^error: invalid Kustomization: "), "the kustomization file is not valid; correct it"),
    _Fault(
        re.compile(r"^error: unable to find one of 'kustomization\.yaml'|^error: must build at directory: "),
        "path is not a folder of the app's image with a kustomization.yaml; correct path, or add the file",
    ),
    _Fault(  # a resource with a scheme, host or query is fetched, which may succeed later
        re.compile(
            r"^error: accumulating resources: accumulation err='accumulating resources from '[^':@?]+': evalsymlink "
            r"failure on .*must build at directory: not a valid directory: evalsymlink failure on .*"
            r": no such file or directory$"
        ),
        "the kustomization names a file that is not in /templates of the app's image; correct it, or add the file",
    ),
)

_TOO_LARGE_FOR_CLIENT_SIDE_APPLY = re.compile(
    r"metadata\.annotations: Too long: may not be more than 262144 bytes|Request entity too large: limit is \d+"
)


def find_fault(line: str, *, fetched: bool = False) -> str:
    """
    What is wrong, and what to do, if this line of kubectl's says that no retry can succeed; else "".

    `fetched`: the manifest comes from a URL, so its text may change from attempt to attempt.

    >>> find_fault("error: error parsing web.yml: error converting YAML to JSON: yaml: line 2: did not find ...")
    'the manifest is not valid YAML or JSON; correct it'
    >>> find_fault('Error from server (NotFound): namespaces "lab" not found')
    ''
    """
    for fault in _FAULTS:
        if (fault.of_any_source or not fetched) and fault.said.search(line):
            return fault.meaning
    return ""


def needs_server_side_apply(line: str) -> bool:
    """
    Whether this line of a client-side apply complains of a size that comes from client-side apply itself: it copies
    each object into an annotation, which may have 256 KiB, and so sends it twice.
    """
    return _TOO_LARGE_FOR_CLIENT_SIDE_APPLY.search(line) is not None
