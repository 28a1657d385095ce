"""Environment variable names in an app's scripts: the name of each parameter, and the names reserved for kns."""

import re

_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHER = re.compile(r"[^A-Za-z0-9_]")

PARAMETER_PREFIX = "KNS_PARAM_"
# Names, not prefixes: published AppDefs have parameters called JARVICE_..., and JARVICE takes them.
_OF_KNS = frozenset(
    {
        *("KNS_JOB_NUMBER", "KNS_JOB_NAME", "KNS_JOB_LABEL", "KNS_JOB_USER", "KNS_JOB_APP", "KNS_JOB_COMMAND"),
        *("KNS_MACHINE", "KNS_CORES", "KNS_RAM_GB", "KNS_GPUS"),
        *("KNS_JOB_URL", "KNS_JOB_HOST", "JARVICE_INGRESSPATH"),
        *("KNS_VAULT_STORAGE_CLASS", "KNS_DEFAULT_STORAGE_CLASS"),
        *("KNS_JOB_PASSWORD", "KNS_RANDOM16", "KNS_RANDOM32", "KNS_RANDOM64", "KNS_RANDOM128"),
        *("KNS_KEYCLOAK_URL", "KNS_KEYCLOAK_REALM", "KNS_KEYCLOAK_CLIENT_ID", "KNS_KEYCLOAK_CLIENT_SECRET"),
        *("KNS_WORK_DIR", "KNS_TERMINATION_LOG"),  # read by the init image
    }
)
_OF_THE_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "KUBECONFIG", "TMPDIR", "HOSTNAME", "PWD"),
        *("BASH_ENV", "BASHOPTS", "ENV", "IFS", "PS4", "SHELLOPTS"),  # they change how a shell runs a script
        *("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"),  # they change which code every program runs
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)
RESERVED = _OF_KNS | _OF_THE_SYSTEM


def parameter_name(key: str) -> str:
    """
    The environment variable that holds the value of the parameter `key`.

    >>> parameter_name("workers"), parameter_name("--input-file")
    ('KNS_PARAM_WORKERS', 'KNS_PARAM_INPUT_FILE')
    """
    return PARAMETER_PREFIX + _OTHER.sub("_", key.lstrip("-")).upper()


def is_legal(name: str) -> bool:
    """Whether a shell accepts `name` as the name of a variable."""
    return len(name) <= 253 and _LEGAL.fullmatch(name) is not None


def is_reserved(name: str) -> bool:
    """
    >>> is_reserved("JARVICE_INGRESSPATH"), is_reserved("KNS_PARAM_X"), is_reserved("JARVICE_TOOLS")
    (True, True, False)
    """
    return name in RESERVED or name.startswith(PARAMETER_PREFIX)
