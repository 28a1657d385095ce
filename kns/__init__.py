"""
kns: a scheduler for nested Kubernetes jobs.

A job is a record in the host cluster; a leader brings the world to what the record says, one virtual cluster per
job in one namespace per job, and takes everything away again when the record says Stopped.
"""

from importlib.metadata import version

__version__ = version("kns")
