"""
Protocols for everything outside of kns, and `Context`, which every stage receives.

Each port has one adapter and one in-memory fake; the same contract tests run on both. Every method may raise
`TransientError`: a later try may succeed. Its docstring names the other errors.
"""

from kns.ports.catalog import CatalogSource
from kns.ports.cluster import MOST_EVENTS, MOST_EVENTS_READ, MOST_WARNINGS, Cluster, Kind, NamespaceReader, Object
from kns.ports.context import Context, Doors, RoomMemory, World
from kns.ports.identity import Bearer, IdentityProvider, SessionKeys, SignInProvider
from kns.ports.owned import InputStore, OutputStore, TokenStore
from kns.ports.pool import Members, PoolState
from kns.ports.process import Clock, Health, Lease, RateLimit
from kns.ports.records import MOST_SURPLUS, JobStore, RecordAuthority, RecordWriter, Retained, Share, Tally
from kns.ports.relay import ClusterAnswer, ClusterChannel, ClusterRequest, JobClusters, RefusedChannel
from kns.ports.room import FreeRoom
from kns.ports.traffic import Traffic
from kns.ports.virtual import Renderer, VirtualClusters

__all__ = [
    "MOST_EVENTS",
    "MOST_EVENTS_READ",
    "MOST_SURPLUS",
    "MOST_WARNINGS",
    "Bearer",
    "CatalogSource",
    "Clock",
    "Cluster",
    "ClusterAnswer",
    "ClusterChannel",
    "ClusterRequest",
    "Context",
    "Doors",
    "FreeRoom",
    "Health",
    "IdentityProvider",
    "InputStore",
    "JobClusters",
    "JobStore",
    "Kind",
    "Lease",
    "Members",
    "NamespaceReader",
    "Object",
    "OutputStore",
    "PoolState",
    "RateLimit",
    "RecordAuthority",
    "RecordWriter",
    "RefusedChannel",
    "Renderer",
    "Retained",
    "RoomMemory",
    "SessionKeys",
    "Share",
    "SignInProvider",
    "Tally",
    "TokenStore",
    "Traffic",
    "VirtualClusters",
    "World",
]
