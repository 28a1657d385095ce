"""The settings of `launcher.kubernetes.conf` and of the command line, as one table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from kns.launcher.config import values
from kns.launcher.config.values import Reader

MAX_MESSAGE_BYTES = 5 * 1024 * 1024  # what the Launcher sends and accepts at most; its protocol fixes it
MIN_MESSAGE_BYTES = 2 * 1024 * 1024  # all that is said of one job: its environment may be six times as long in JSON
MAX_THREADS = 1024  # a thread costs stack and an open connection to the API server
MAX_EXPIRY_HOURS = 24 * 365  # a year of finished jobs
MAX_WATCH_S = 24 * 3600  # the API server ends a watch within about an hour anyway
MAX_FETCH = 100_000  # objects in one answer; more would exceed any memory that a plugin has


class Source(StrEnum):
    """Where an option may be set."""

    BOTH = "file and command line"
    FILE = "file"
    ARGUMENT = "command line"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its reader, its default as text (None: no default), where it may be set, and what it does."""

    read: Reader[object]
    default: str | None
    effect: str
    source: Source = Source.BOTH


_FILE = Source.FILE

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        # Those that the Launcher also passes as --name=value.
        "plugin-name": Option(values.read_text, "kubernetes", "Name of the plugin; names its files."),
        "server-user": Option(values.read_text, "rstudio-server", "User that the plugin becomes if started as root."),
        "thread-pool-size": Option(
            values.read_count(1, MAX_THREADS), str(2 * (os.cpu_count() or 1)), "Requests that are worked on at a time."
        ),
        "enable-debug-logging": Option(values.read_flag, "0", "Log debug messages."),
        "scratch-path": Option(values.read_path, None, "Folder of templates and temporary files."),
        "logging-dir": Option(values.read_path, "/var/log/rstudio/launcher", "Folder of log files."),
        "log-level": Option(
            values.read_choice("ERR", "WARN", "INFO", "DEBUG"), "WARN", "Lowest severity that is logged."
        ),
        "job-expiry-hours": Option(
            values.read_count(1, MAX_EXPIRY_HOURS), "24", "Hours after which a completed job is removed."
        ),
        "heartbeat-interval-seconds": Option(
            values.read_count(0, 3600), "5", "Seconds between heartbeats; 0 sends none."
        ),
        "max-message-size": Option(
            values.read_count(MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES),
            str(MAX_MESSAGE_BYTES),
            "Bytes of the largest message.",
        ),
        "unprivileged": Option(values.read_flag, "0", "Stay the user that started the plugin."),
        "rsandbox-path": Option(values.read_optional_text, "", "Accepted and ignored: jobs run in pods."),
        "launcher-config-file": Option(
            values.read_path, "/etc/rstudio/launcher.conf", "Configuration file of the Launcher itself."
        ),
        "config-file": Option(values.read_path, None, "This plugin's configuration file.", Source.ARGUMENT),
        # Those of the file alone.
        "profile-config": Option(values.read_path, None, "File of the user and group profiles.", _FILE),
        "api-url": Option(values.read_api_url, None, "Address of the Kubernetes API, before /api.", _FILE),
        "auth-token-path": Option(values.read_path, None, "File of the service account's token.", _FILE),
        "auth-token": Option(values.read_token, None, "The token itself, raw or base64-encoded.", _FILE),
        "kubernetes-namespace": Option(values.read_namespace, "rstudio", "Namespace of the jobs.", _FILE),
        "shared-process-namespace": Option(values.read_flag, "true", "Signals reach the processes of the job.", _FILE),
        "verify-ssl-certs": Option(values.read_flag, "1", "Check the certificate of the Kubernetes API.", _FILE),
        "certificate-authority": Option(
            values.read_certificate_authority, None, "PEM, base64-encoded; blank: the system's store.", _FILE
        ),
        "watch-timeout-seconds": Option(
            values.read_count(0, MAX_WATCH_S), "180", "Seconds until a watch is opened again; 0: never.", _FILE
        ),
        "fetch-limit": Option(values.read_count(1, MAX_FETCH), "500", "Objects per list request.", _FILE),
        "use-templating": Option(
            values.read_flag, "0", "Render job.tpl and service.tpl; job-json-overrides are ignored then.", _FILE
        ),
        "nested": Option(values.read_flag, "0", "Run jobs in virtual clusters of their own (kns).", _FILE),
        "nested-url": Option(values.read_api_url, None, "Address of kns, before /jarvice.", _FILE),
        "nested-credentials-path": Option(
            values.read_path, None, "File with USERNAME:APIKEY of an account of kns, or a token.", _FILE
        ),
        "nested-app": Option(values.read_text, None, "App of kns with whose jobs the clusters come.", _FILE),
        "nested-machine": Option(values.read_text, None, "Machine of kns; unset: the smallest that fits.", _FILE),
        "nested-authority-path": Option(values.read_path, None, "Certificate authorities of kns (PEM).", _FILE),
    }
)
