"""Environment variable names in an app's scripts: the name of each parameter, and the names reserved for kns."""

import re

_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHER = re.compile(r"[^A-Za-z0-9_]")

_PREFIXES = (
    "KNS_",
    "JARVICE_",
    "LD_",
    "PYTHON",
)  # of kns, of the dynamic loader, and of the interpreter that runs the scripts
_RESERVED = frozenset(
    {
        *("PATH", "HOME", "KUBECONFIG", "TMPDIR", "HOSTNAME", "PWD"),
        *("BASH_ENV", "BASHOPTS", "ENV", "IFS", "PS4", "SHELLOPTS"),  # they change how a shell runs a script
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)


def parameter_name(key: str) -> str:
    """
    The environment variable that holds the value of the parameter `key`.

    >>> parameter_name("workers"), parameter_name("--input-file")
    ('KNS_PARAM_WORKERS', 'KNS_PARAM_INPUT_FILE')
    """
    return "KNS_PARAM_" + _OTHER.sub("_", key.lstrip("-")).upper()


def is_legal(name: str) -> bool:
    """Whether a shell accepts `name` as the name of a variable."""
    return len(name) <= 253 and _LEGAL.fullmatch(name) is not None


def is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith(_PREFIXES)
