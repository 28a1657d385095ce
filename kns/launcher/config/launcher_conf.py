"""The Launcher's own `launcher.conf`: which plugin of which name runs here, and where it keeps its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kns.launcher.config.lines import ConfFile, Section, read_conf
from kns.launcher.config.problems import Problem

DEFAULT_SCRATCH_ROOT = "/var/lib/rstudio-launcher"
DEFAULT_CLUSTER = "Kubernetes"  # of a launcher.conf that has no Kubernetes cluster yet


@dataclass(frozen=True, slots=True)
class Cluster:
    """A `[cluster]` section of a Kubernetes plugin. `config_file` is "" if the section does not set it."""

    name: str
    config_file: str = ""


@dataclass(frozen=True, slots=True)
class LauncherConf:
    """What the plugin needs of `launcher.conf`. Its other settings belong to the Launcher."""

    clusters: tuple[Cluster, ...] = ()
    scratch_root: str = DEFAULT_SCRATCH_ROOT
    server_user: str = ""

    def find_cluster(self, plugin_name: str) -> Cluster:
        """
        The cluster that runs the plugin of this name; names are compared without case.

        The only Kubernetes cluster is the one, whatever its name is: the template commands know no plugin name.
        """
        for cluster in self.clusters:
            if cluster.name.lower() == plugin_name.lower():
                return cluster
        return self.clusters[0] if len(self.clusters) == 1 else Cluster(DEFAULT_CLUSTER)

    def scratch_path(self, plugin_name: str) -> str:
        return str(PurePosixPath(self.scratch_root) / self.find_cluster(plugin_name).name)


def read_launcher_conf(path: Path, problems: list[Problem]) -> LauncherConf:
    """Read the file. A missing file has the defaults: the plugin may run beside the Launcher's container."""
    if not path.exists():
        return LauncherConf()
    conf = read_conf(path, problems)
    return LauncherConf() if conf is None else _build(conf, problems)


def _build(conf: ConfFile, problems: list[Problem]) -> LauncherConf:
    server: dict[str, str] = {}
    clusters: list[Cluster] = []
    for section in conf.sections:
        if section.name == "server":
            server.update((entry.key, entry.value) for entry in section.entries)
        elif section.name == "cluster":
            clusters += _read_cluster(conf, section, problems)
    return LauncherConf(
        tuple(clusters), server.get("scratch-path") or DEFAULT_SCRATCH_ROOT, server.get("server-user", "")
    )


def _read_cluster(conf: ConfFile, section: Section, problems: list[Problem]) -> Iterator[Cluster]:
    entries = {entry.key: entry.value for entry in section.entries}
    is_kubernetes = entries.get("type", "").lower() == "kubernetes" or "kubernetes" in entries.get("exe", "").lower()
    if not is_kubernetes:
        return
    name = entries.get("name", "")
    if not name or "/" in name or name in (".", ".."):
        problems.append(Problem(conf.path, section.line, "name", "a [cluster] needs a name without a slash"))
        return
    yield Cluster(name, entries.get("config-file", ""))
