"""
The folders of the testbed: a cache outside the checkout, and a run folder for sockets.

Sockets are below /run because the path of a socket is limited to 107 bytes. `state/` belongs to one cluster and is
deleted by `down`. Programs, images and the registry's data stay.
"""

import os
import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parent
GO_MODULE = SOURCE / "go"
STUBS = SOURCE / "stubs"
MANIFESTS = SOURCE / "manifests"
RUN = pathlib.Path("/run/kns-testbed")


def cache_root() -> pathlib.Path:
    """
    The cache folder: KNS_TESTBED_HOME, or ~/.cache/kns-testbed.
    """
    configured = os.environ.get("KNS_TESTBED_HOME")
    return pathlib.Path(configured).resolve() if configured else pathlib.Path.home() / ".cache" / "kns-testbed"


CACHE = cache_root()
# What the testbed, the demo, the Makefile and .ci/run put there. `down --purge` deletes nothing else.
OURS = re.compile(
    r"axe-[0-9.]+|bin|build-logs|buildah|ci-down\.log|conformance|demo(-[0-9a-f]{8})?|go|images|keycloak|keycloak-up\.log"
    r"|kubeconfig(\.tmp)?|lock|registry|state|toolchain|venvs"
)
BIN = CACHE / "bin"
IMAGES = CACHE / "images"
BUILDAH = CACHE / "buildah"
REGISTRY_DATA = CACHE / "registry"
TOOLCHAIN = CACHE / "toolchain"
GO_SOURCE = CACHE / "go"
BUILD_LOGS = CACHE / "build-logs"
KEYCLOAK = CACHE / "keycloak"
KEYCLOAK_HOME = KEYCLOAK / "home"
KUBECONFIG = CACHE / "kubeconfig"
LOCK = CACHE / "lock"

STATE = CACHE / "state"
PKI = STATE / "pki"
CONFIG = STATE / "config"
PIDS = STATE / "pids"
LOGS = STATE / "logs"
AUDIT_LOG = STATE / "audit" / "audit.log"
ETCD_DATA = STATE / "etcd"
KUBELET_ROOT = STATE / "kubelet"
POD_LOGS = STATE / "pod-logs"
CONTAINERD_ROOT = STATE / "containerd"
CNI_CONF = CONFIG / "cni"
CNI_DATA = STATE / "cni"
VOLUMES = STATE / "volumes"
KEYCLOAK_CONF = STATE / "keycloak" / "keycloak.conf"
KEYCLOAK_PASSWORD = STATE / "keycloak" / "admin-password"
BOOT_ID = STATE / "boot-id"
SYSCTLS = STATE / "sysctls.json"

CONTAINERD_STATE = RUN / "containerd"
CONTAINERD_SOCKET = RUN / "containerd.sock"


def binary(name: str) -> pathlib.Path:
    """
    The path of a program: a link to its current build.
    """
    return BIN / name
