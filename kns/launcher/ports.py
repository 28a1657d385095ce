"""
What the plugin needs from its configuration and its templates, as Protocols and plain values.

`kns.launcher.config` reads files and flags into `Options` and implements `Profiles`; `kns.launcher.templates`
implements `Renderer`. Without templates, the renderer is `kns.launcher.built.BuiltObjects`, on the pure builders of
`kns.plain`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kns.plain.job import PlainJob

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """
    The configuration that the running plugin reads. The profiles and the templates have theirs.

    `auth_token` is used if `auth_token_path` is None. The file is read again for each connection, because tokens
    rotate. `certificate_authority` is a PEM text; "" means the system's store. `watch_timeout_s` 0 means no limit.
    `cluster` is the name of the Launcher's cluster, which each job reports. A process that starts as root becomes
    `server_user`, except with `unprivileged`. `nested`: the jobs of all users run in a virtual cluster each.
    `nested_url` is the address of kns, `nested_app` the app whose jobs have these clusters, and `nested_machine` their
    machine, "" for the smallest that fits.
    """

    cluster: str = "Kubernetes"
    api_url: str = ""
    auth_token: str = ""
    auth_token_path: Path | None = None
    certificate_authority: str = ""
    verify_ssl_certs: bool = True
    namespace: str = "rstudio"
    scratch_path: Path = Path("/var/lib/rstudio-launcher/Kubernetes")
    heartbeat_interval_s: float = 5.0
    thread_pool_size: int = 4
    job_expiry_hours: float = 24.0
    watch_timeout_s: int = 180
    fetch_limit: int = 500
    shared_process_namespace: bool = True
    max_message_bytes: int = 5 * 1024 * 1024
    debug: bool = False
    server_user: str = "rstudio-server"
    unprivileged: bool = False
    logging_dir: Path = Path("/var/log/rstudio/launcher")
    use_templating: bool = False
    nested: bool = False
    nested_url: str = ""
    nested_credentials_path: Path | None = None
    nested_app: str = ""
    nested_machine: str = ""
    nested_authority_path: Path | None = None

    @property
    def can_nest(self) -> bool:
        return bool(self.nested_url and self.nested_credentials_path and self.nested_app)


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """Default and maximum of one resource of a user, as the Launcher writes numbers; "" means none."""

    type: str  # cpuCount, memory, "NVIDIA GPUs", "AMD GPUs", "CPU Request", "Memory Request"
    default: str = ""
    maximum: str = ""


@dataclass(frozen=True, slots=True)
class ResourceProfile:
    """One section of launcher.kubernetes.resources.conf: named resources that a job may ask for."""

    name: str
    display_name: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)  # Launcher type -> value
    constraints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """
    What one user may do: the sections of the profiles file that match, merged from top to bottom.

    A placement constraint is (name, value); several values of a name are choices, None is a free-form field.
    `nested`: this user's jobs run in a virtual cluster each. `json_overrides` is (RFC 6901 pointer, decoded JSON).
    """

    images: tuple[str, ...] = ()
    default_image: str = ""
    allow_unknown_images: bool = True
    constraints: tuple[tuple[str, str | None], ...] = ()
    limits: tuple[ResourceLimit, ...] = ()
    cpu_request_ratio: float = 1.0
    memory_request_ratio: float = 1.0
    resource_profiles: tuple[ResourceProfile, ...] = ()
    allow_custom_resources: bool = True
    json_overrides: tuple[tuple[str, Any], ...] = ()
    nested: bool = False


class Profiles(Protocol):
    def for_user(self, user: str) -> Profile:
        """The merged profile of a user. `*` and "" are users without a section of their own."""
        ...


@dataclass(frozen=True, slots=True)
class Names:
    """
    The names of a job's objects.

    `generate_name` ends in a dash and is the `generateName` of the Kubernetes Job. The plugin itself adds five random
    characters to what the renderer returns, so that a lost answer of the API server does not leave a second job. The
    result is the job's id. `cluster` is the Launcher's name of the cluster. `service_ports_json` is the list of the
    Service's ports as JSON, as the Launcher's templates want it.
    """

    generate_name: str
    cluster: str
    service_ports_json: str = "[]"


class Renderer(Protocol):
    """
    Turns a job into Kubernetes objects. The plugin adds its own labels and annotations to the result, so that it finds
    the job again whatever the template says.
    """

    def render_job(self, job: PlainJob, names: Names, profile: Profile) -> Object:
        """
        The `batch/v1` Job.

        Raises:
            KnsError: the template cannot be rendered, or its result is not a Job.
        """
        ...

    def render_service(self, job: PlainJob, names: Names, *, job_id: str, service: str) -> Object:
        """
        The Service of the job `job_id`, with the name `service`. Called only if the job has ports for a Service.

        Raises:
            KnsError: as above.
        """
        ...


class Warnings(Protocol):
    """Where the parts of the plugin report what an administrator should know. stdout is the protocol's."""

    def __call__(self, event: str, **keys: object) -> None: ...
