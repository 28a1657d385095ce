"""
Construct every part of the scheduler from the settings. Each part receives only the values that it needs.

Nothing here starts a thread; `kns.main` runs the parts.
"""

from kns.wiring.keycloak import build_identity_provider
from kns.wiring.leader_work import STOP_S, LeaderWork, build_sweep_rules
from kns.wiring.scheduler import Scheduler, wire_scheduler

__all__ = ["STOP_S", "LeaderWork", "Scheduler", "build_identity_provider", "build_sweep_rules", "wire_scheduler"]
