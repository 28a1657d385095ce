"""
The cluster to use: the testbed, or the one of KUBECONFIG. It is chosen once, from the environment.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from demo.errors import DemoError
from kns import __version__
from kns.settings.table import Settings
from testbed import layout, paths

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "manifests"

VARIABLES = f"""\
Without KUBECONFIG the cluster is the testbed. With it, that cluster is used and the testbed is left alone:
  KUBECONFIG                  the cluster; its user must be cluster administrator
  KNS_REGISTRY                registry and folder that the cluster pulls our images from, e.g. registry.example.org/team
  JARVICE_JOBS_DOMAIN         wildcard domain that leads to the cluster's ingress controller, e.g. jobs.example.org
  JARVICE_JOBS_INGRESS_CLASS  its IngressClass (default: the cluster's default class)
  KNS_INGRESS_URL             where to reach the ingress controller from here, if the domain does not resolve here
Settings of docs/configuration.md that are set in the environment are passed on, on any cluster. Secrets, files and
proxies are not:
  JARVICE_KNS_KEEP_VCLUSTERS=true python -m demo up
Push the images first, if the cluster is not the testbed:
  for name in scheduler init gotty; do
    file=$([ $name = scheduler ] && echo Dockerfile || echo $name-image/Dockerfile)
    image=$KNS_REGISTRY/kns-$name:{__version__}
    docker build -t $image -f $file . && docker push $image
  done
  for file in examples/*/Dockerfile; do
    id=$(basename $(dirname $file))
    docker build -t $KNS_REGISTRY/kns-example-$id:1 examples/$id && docker push $KNS_REGISTRY/kns-example-$id:1
  done
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, and the user's settings for it. "" means not set."""

    is_testbed: bool
    kubeconfig: str
    kubectl: Path
    state: Path
    registry: str
    jobs_domain: str
    ingress_class: str
    ingress_url: str
    overrides: Mapping[str, str]

    def image(self, name: str) -> str:
        """
        The full name of an image of kns, for example of `kns-init:1.2.3`.
        """
        return f"{self.registry or 'localhost'}/{name}"


def choose_target(environ: Mapping[str, str] = os.environ) -> Target:
    """
    The cluster that the environment selects.

    If KUBECONFIG is the file of the testbed, as `make env` sets it, the cluster is the testbed.

    Raises:
        DemoError: KUBECONFIG names another cluster, and a variable or a program is missing.
    """
    kubeconfig = environ.get("KUBECONFIG", "")
    if not kubeconfig or Path(kubeconfig).resolve() == paths.KUBECONFIG.resolve():
        return Target(
            is_testbed=True,
            kubeconfig=str(paths.KUBECONFIG),
            kubectl=paths.binary("kubectl"),
            state=paths.CACHE / "demo",
            registry="",
            jobs_domain="http://jobs.localhost",
            ingress_class=layout.INGRESS_CLASS,
            ingress_url=layout.INGRESS_URL,
            overrides=_read_overrides(environ),
        )
    needed = ("KNS_REGISTRY", "JARVICE_JOBS_DOMAIN")
    if missing := [name for name in needed if not environ.get(name)]:
        raise DemoError(f"KUBECONFIG names a cluster of yours; set {' and '.join(missing)} too.\n\n{VARIABLES}")
    program = shutil.which("kubectl", path=environ.get("PATH"))
    if program is None:
        raise DemoError("KUBECONFIG names a cluster of yours, and there is no kubectl on PATH; install it")
    return Target(
        is_testbed=False,
        kubeconfig=kubeconfig,
        kubectl=Path(program),
        state=paths.CACHE / f"demo-{sha256(kubeconfig.encode()).hexdigest()[:8]}",
        registry=environ["KNS_REGISTRY"].rstrip("/"),
        jobs_domain=environ["JARVICE_JOBS_DOMAIN"],
        ingress_class=environ.get("JARVICE_JOBS_INGRESS_CLASS", ""),
        ingress_url=environ.get("KNS_INGRESS_URL", ""),
        overrides=_read_overrides(environ),
    )


def _read_overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """
    The settings that are set in the environment. Secrets are not passed on, because the settings become a ConfigMap.
    Neither is what names something of this machine: files, programs and proxies.
    """
    return {name: environ[name] for name in sorted(_list_passed_on()) if environ.get(name)}


def _list_passed_on() -> set[str]:
    fields = Settings.model_fields.values()
    programs = {"KNS_HELM"}
    return {
        field.validation_alias
        for field in fields
        if isinstance(field.validation_alias, str)
        and field.validation_alias not in programs
        and not _mentions(field.annotation, (SecretStr, Path))
    }


def _mentions(annotation: Any, kinds: tuple[type, ...]) -> bool:
    return annotation in kinds or any(_mentions(part, kinds) for part in get_args(annotation))
