"""
The API of kns's own clients, for what the public API of JARVICE has no routes for. Its command line uses both.
"""

from kns.api.kns.cluster import FRONT_END as CLUSTERS
from kns.api.kns.cluster import PREFIX as CLUSTER_PREFIX
from kns.api.kns.document import FRONT_END

__all__ = ["CLUSTERS", "CLUSTER_PREFIX", "FRONT_END"]
