"""kubectl as the demo calls it: for its target, and with its errors."""

from typing import Self

from demo.errors import DemoError
from demo.target import Target
from kns.cli import kubectl


class Kubectl(kubectl.Kubectl):
    """kubectl with one kubeconfig."""

    failure = DemoError
    remedy = "`make up` builds it"

    @classmethod
    def of(cls, target: Target) -> Self:
        """
        kubectl for the host cluster. The testbed's addresses are on this machine, so no proxy can reach them.
        """
        return cls(target.kubectl, target.kubeconfig, use_proxy=not target.is_testbed)
