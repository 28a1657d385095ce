"""What the app's templates and scripts find in their environment (contract C.6)."""

from kns.model import names
from kns.model.job import Accepted, JobSpec
from kns.model.site import Site
from kns.model.tokens import Tokens


def build_public_env(spec: JobSpec, accepted: Accepted, site: Site) -> dict[str, str]:
    name, nodes, machine = names.job_object_name(accepted.number), spec.machine.nodes, accepted.machine
    domain = site.jobs_domain
    exposed = bool(accepted.nested.targets) and domain is not None
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
        "KNS_JOB_URL": domain.job_url(name) if exposed and domain else "",
        "KNS_JOB_HOST": domain.job_host(name) if exposed and domain else "",
        "JARVICE_INGRESSPATH": "",
    }


def build_secret_env(tokens: Tokens) -> dict[str, str]:
    return {
        "KNS_JOB_PASSWORD": tokens.password,
        **{f"KNS_RANDOM{length}": token for length, token in tokens.random.items()},
    }
