"""
kns: a scheduler for nested Kubernetes jobs.

A job is a record in the host cluster. A leader makes the cluster match the record: one virtual cluster per job, in one
namespace per job. When the record says Stopped, the leader removes all of it.
"""

from importlib.metadata import PackageNotFoundError, distribution

# The build reads it from here. Between two releases it ends in `.dev0` (docs/releasing.md).
__version__ = "0.2.0.dev0"

try:
    distribution("kns")
except PackageNotFoundError as error:
    # With `name`, `python -m kns` prints one line instead of a traceback.
    raise ImportError("kns is not installed; `pip install .` in its checkout", name="kns") from error
