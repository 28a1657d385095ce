"""
kns: a scheduler for nested Kubernetes jobs.

A job is a record in the host cluster; a leader brings the world to what the record says, one virtual cluster per
job in one namespace per job, and takes everything away again when the record says Stopped.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kns")
except PackageNotFoundError as error:
    # With `name`, `python -m kns` says it in one line instead of a traceback.
    raise ImportError("kns is not installed; `pip install .` in its checkout", name="kns") from error
