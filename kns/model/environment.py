"""What the app's templates and scripts find in their environment (contract C.6)."""

from kns.model.job import Accepted, JobSpec
from kns.model.site import Site
from kns.model.tokens import Tokens


def build_public_env(spec: JobSpec, accepted: Accepted, site: Site) -> dict[str, str]:
    nodes, machine = spec.machine.nodes, accepted.machine
    address = site.job_address(accepted.number, accepted.nested)
    return {
        "KNS_JOB_NUMBER": str(accepted.number),
        "KNS_JOB_NAME": accepted.name,
        "KNS_JOB_LABEL": spec.label or "",
        "KNS_JOB_USER": spec.user,
        "KNS_JOB_APP": spec.app,
        "KNS_JOB_COMMAND": accepted.command,
        "KNS_MACHINE": machine.mc_name,
        "KNS_CORES": str(machine.cores(nodes)),
        "KNS_RAM_GB": str(machine.memory_gib(nodes)),
        "KNS_GPUS": str(machine.gpus(nodes)),
        "KNS_JOB_URL": address.url if address else "",
        "KNS_JOB_HOST": address.host if address else "",
        "JARVICE_INGRESSPATH": address.path.strip("/") if address else "",
        "KNS_VAULT_STORAGE_CLASS": "",
        "KNS_DEFAULT_STORAGE_CLASS": site.classes.default_storage_class or "",
    }


def build_secret_env(tokens: Tokens) -> dict[str, str]:
    return {
        "KNS_JOB_PASSWORD": tokens.password,
        **{f"KNS_RANDOM{length}": token for length, token in tokens.random.items()},
    }


def build_proxy_env(site: Site) -> dict[str, str]:
    """For the init pod alone. The virtual cluster's API and whatever else has a ClusterIP is never behind a proxy."""
    proxies = site.proxies
    given = {"http_proxy": proxies.http, "https_proxy": proxies.https}
    env = {name: value for name, value in given.items() if value}
    direct = (site.virtual.service_cidr, "localhost", "127.0.0.1", "svc", ".svc", ".svc.cluster.local")
    return {**env, "no_proxy": ",".join(filter(None, (proxies.no_proxy, *direct)))} if env else env
