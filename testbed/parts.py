"""
The long-lived programs of the node, as a table: how each is started, its address, and how its health is checked.

PARTS is in the order of starting. `down` stops them in an order of its own, clients before servers.
"""

import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from testbed import api, audit, layout, machine, paths, processes
from testbed.commands import run, tail, wait_until
from testbed.errors import TestbedError

READY_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Part:
    """
    One program. `argv` and `missing` are functions because paths depend on what was built.

    `missing` returns None when the part serves, else what it lacks.
    """

    name: str
    address: str
    argv: Callable[[], list[str]]
    missing: Callable[[], str | None]


def daemon_environment() -> dict[str, str]:
    """
    The environment of the parts: no proxies, no credentials, no kubeconfig of the caller.
    """
    search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": search, "HOME": "/root", "LANG": "C.UTF-8"}


def ensure_running(part: Part, tick: Callable[[str], None], *, timeout_s: float = READY_TIMEOUT_S) -> str:
    """
    Start a part unless it runs, and wait until it serves. Returns what was done. A part that runs another program, or
    with other flags, is restarted: the checkout has changed since it was started.

    Raises:
        TestbedError: the part exited or did not become ready; the message has the end of its log.
    """
    argv = part.argv()
    identity = processes.running(part.name, argv)
    outcome = "already running"
    started = "ready"
    if identity is not None and not _is_current(identity, argv):
        if processes.stop_all([identity], grace_s=10, tick=tick):
            raise TestbedError(f"{part.name} (pid {identity.pid}) survived SIGKILL; find out why, then try again")
        identity, started = None, "restarted, because its program or its flags changed"
    if identity is None:
        identity = processes.start(part.name, argv, env=daemon_environment())
        outcome = started

    def missing() -> str | None:
        if not processes.is_alive(identity):
            raise TestbedError(f"{part.name} exited{log_tail(part.name)}")
        return part.missing()

    try:
        wait_until(missing, timeout_s=timeout_s, tick=tick)
    except TestbedError as err:
        raise TestbedError(f"{part.name} is not ready: {err}{log_tail(part.name)}") from err
    return outcome


def _is_current(identity: processes.Identity, argv: list[str]) -> bool:
    return identity.exe == os.path.realpath(argv[0]) and processes.argv_of(identity.pid) == argv


def log_tail(name: str) -> str:
    """
    The end of a part's log, for the end of a message.
    """
    log = paths.LOGS / f"{name}.log"
    return f"\n--- end of {log}\n{tail(log, 15)}"


def _pki(name: str) -> str:
    return str(paths.PKI / name)


def _binary(name: str) -> str:
    return str(paths.binary(name).resolve())


def _registry() -> list[str]:
    return [str(machine.registry_binary()), "serve", str(paths.CONFIG / "registry.yaml")]


def _etcd() -> list[str]:
    return [
        _binary("etcd"),
        f"--name={layout.NODE_NAME}",
        f"--data-dir={paths.ETCD_DATA}",
        f"--listen-client-urls={layout.ETCD_URL}",
        f"--advertise-client-urls={layout.ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        f"--initial-cluster={layout.NODE_NAME}=http://127.0.0.1:2380",
        # `down` deletes the data, so waiting for the disk would only cost time.
        "--unsafe-no-fsync",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--log-level=warn",
    ]


def _apiserver() -> list[str]:
    return [
        _binary("kube-apiserver"),
        f"--advertise-address={layout.NODE_IP}",
        f"--bind-address={layout.NODE_IP}",
        f"--secure-port={layout.API_PORT}",
        f"--etcd-servers={layout.ETCD_URL}",
        f"--service-cluster-ip-range={layout.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={_pki('ca.crt')}",
        f"--tls-cert-file={_pki('apiserver.crt')}",
        f"--tls-private-key-file={_pki('apiserver.key')}",
        f"--kubelet-certificate-authority={_pki('ca.crt')}",
        f"--kubelet-client-certificate={_pki('apiserver-kubelet-client.crt')}",
        f"--kubelet-client-key={_pki('apiserver-kubelet-client.key')}",
        # The node's name does not resolve on the machine.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
        f"--service-account-key-file={_pki('sa.pub')}",
        f"--service-account-signing-key-file={_pki('sa.key')}",
        f"--requestheader-client-ca-file={_pki('front-proxy-ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={_pki('front-proxy-client.crt')}",
        f"--proxy-client-key-file={_pki('front-proxy-client.key')}",
        "--enable-aggregator-routing=true",
        "--profiling=false",
        *audit.build_flags(audit.policy_file(), paths.AUDIT_LOG),
    ]


def _controller_manager() -> list[str]:
    return [
        _binary("kube-controller-manager"),
        *_same_kubeconfig("kube-controller-manager"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={layout.POD_RANGE}",
        f"--service-cluster-ip-range={layout.SERVICE_RANGE}",
        f"--root-ca-file={_pki('ca.crt')}",
        f"--service-account-private-key-file={_pki('sa.key')}",
        f"--cluster-signing-cert-file={_pki('ca.crt')}",
        f"--cluster-signing-key-file={_pki('ca.key')}",
        "--use-service-account-credentials=true",
        "--profiling=false",
    ]


def _scheduler() -> list[str]:
    argv = [_binary("kube-scheduler"), *_same_kubeconfig("kube-scheduler")]
    return [*argv, "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"]


def _same_kubeconfig(client: str) -> list[str]:
    kubeconfig = _pki(f"{client}.kubeconfig")
    return [f"--{kind}kubeconfig={kubeconfig}" for kind in ("", "authentication-", "authorization-")]


def _containerd() -> list[str]:
    return [_binary("containerd"), "--config", str(paths.CONFIG / "containerd.toml"), "--log-level", "warn"]


def _kubelet() -> list[str]:
    return [
        _binary("kubelet"),
        f"--config={paths.CONFIG / 'kubelet.yaml'}",
        f"--kubeconfig={_pki('kubelet.kubeconfig')}",
        f"--root-dir={paths.KUBELET_ROOT}",
        f"--hostname-override={layout.NODE_NAME}",
        f"--node-ip={layout.NODE_IP}",
        f"--node-labels={layout.NODE_LABEL}=true",
    ]


def _kube_proxy() -> list[str]:
    return [_binary("kube-proxy"), f"--config={paths.CONFIG / 'kube-proxy.yaml'}"]


def _keycloak() -> list[str]:
    """
    The command line that Keycloak's kc.sh would run. With the script, the recorded process would be the script.
    """
    home = paths.KEYCLOAK_HOME
    opens = ("java.util", "java.util.concurrent", "java.security")
    return [
        "/usr/bin/java",
        "-Xms64m",
        "-Xmx512m",
        "-XX:MaxMetaspaceSize=256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # it serves a few tests, so a quick start matters more than speed
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "-Dfile.encoding=UTF-8",
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in opens),
        "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
        "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home}/conf",
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        "-Dpicocli.disable.closures=true",
        "-Dquarkus-log-max-startup-records=10000",
        "-cp",
        f"{home}/lib/quarkus-run.jar",
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        f"--config-file={paths.KEYCLOAK_CONF}",
        "start",
        "--optimized",
    ]


def _containerd_missing() -> str | None:
    argv = [str(paths.binary("ctr")), "--address", str(paths.CONTAINERD_SOCKET), "--connect-timeout", "2s", "version"]
    done = run(argv, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def _health(url: str, wanted: str | None = None) -> Callable[[], str | None]:
    return lambda: api.probe(url, wanted=wanted)


PARTS: tuple[Part, ...] = (
    Part("registry", layout.REGISTRY, _registry, _health(f"http://{layout.REGISTRY}/v2/")),
    Part("etcd", "127.0.0.1:2379", _etcd, _health(f"{layout.ETCD_URL}/health")),
    Part("kube-apiserver", f"{layout.NODE_IP}:6443", _apiserver, _health(f"{layout.API_URL}/readyz", "ok")),
    Part(
        "kube-controller-manager",
        "127.0.0.1:10257",
        _controller_manager,
        _health("https://127.0.0.1:10257/healthz"),
    ),
    Part("kube-scheduler", "127.0.0.1:10259", _scheduler, _health("https://127.0.0.1:10259/healthz")),
    Part("containerd", str(paths.CONTAINERD_SOCKET), _containerd, _containerd_missing),
    Part("kubelet", f"{layout.NODE_IP}:10250", _kubelet, _health("http://127.0.0.1:10248/healthz")),
    Part("kube-proxy", "127.0.0.1:10256", _kube_proxy, _health("http://127.0.0.1:10256/healthz")),
)
# Started by commands of their own, not by `up`. `down` stops them like the others.
ON_REQUEST: tuple[Part, ...] = (
    Part(
        "keycloak",
        layout.KEYCLOAK_URL.partition("//")[2],
        _keycloak,
        _health(f"http://{layout.KEYCLOAK_HEALTH}/health/ready"),
    ),
)
BY_NAME = {part.name: part for part in (*PARTS, *ON_REQUEST)}


def live_parts() -> dict[str, processes.Identity]:
    """
    The parts that run now, found by their records or command lines.
    """
    if not paths.STATE.exists():
        return {}
    found = {part.name: processes.running(part.name, part.argv()) for part in BY_NAME.values()}
    return {name: identity for name, identity in found.items() if identity is not None}


def log_file(name: str) -> pathlib.Path:
    """
    The log of a part.

    Raises:
        TestbedError: there is no part of this name.
    """
    if name not in BY_NAME:
        raise TestbedError(f"there is no part {name!r}; choose one of {', '.join(BY_NAME)}")
    return paths.LOGS / f"{name}.log"
