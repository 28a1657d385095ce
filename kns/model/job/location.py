"""
The names of a job's objects on the host cluster, all derived from one value that comes from the record.

No other module derives such a name from a job's number. A record may name a namespace that existed before it
(`Accepted.adopted`); every module then uses that namespace without knowing the difference.
"""

from dataclasses import dataclass

from kns.model import names


@dataclass(frozen=True, slots=True)
class Location:
    """
    Where a job runs on the host cluster.

    `number` is the value of the job label on every object, `namespace` is the job's namespace. `adopted_uid` is the uid
    of a namespace that was made before the record; None if kns makes the namespace for this record.
    """

    number: int
    namespace: str
    adopted_uid: str | None = None

    @property
    def vcluster(self) -> str:
        """
        The virtual cluster: its Helm release, its control-plane workload and its Service have this name.

        vcluster also writes it into the label `names.SYNCED_LABEL` of every object that it copies to the host.
        """
        return self.namespace

    @property
    def ingress(self) -> str:
        return self.namespace

    @property
    def certs_secret(self) -> str:
        """The Secret in which the syncer stores the virtual cluster's certificates and `admin.conf`."""
        return f"{self.vcluster}-certs"

    @property
    def syncer_account(self) -> str:
        """The ServiceAccount of the syncer, as the chart names it."""
        return f"vc-{self.vcluster}"

    @property
    def api_host(self) -> str:
        """
        The virtual cluster's API server, as seen from the host cluster.

        >>> Location(7, "kns-job-7").api_host
        'kns-job-7.kns-job-7'
        """
        return f"{self.vcluster}.{self.namespace}"

    @property
    def control_plane_selector(self) -> dict[str, str]:
        """Labels that the chart gives to the control-plane pod."""
        return {"app": "vcluster", "release": self.vcluster}

    def copy_name(self, name: str, namespace: str) -> str:
        """Host name of the copy of object `name` in `namespace` of the virtual cluster (`names.host_name`)."""
        return names.host_name(name, namespace, self.vcluster)

    def vault_volume(self, claim_uid: str) -> str:
        """The PersistentVolume of one claim on the job's vault (`names.vault_volume`)."""
        return names.vault_volume(self.namespace, claim_uid)
