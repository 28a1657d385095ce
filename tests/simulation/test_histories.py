"""
Random histories: users submit, stop and delete while everything goes wrong that can, and kns dies or loses the lead.

After every step nothing may have happened that never may (`witness.py`); at the end the faults stop, and every job must
come to its end with nothing left. hypothesis shrinks a history that fails and prints it as the steps that led there.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from kns.model.errors import ConflictError, TransientError
from kns.model.job import EXIT_CODES, Job, JobSpec, JobState, StopReason
from kns.model.repeats import digest_request
from tests.builders import a_job
from tests.simulation.faults import FAULTS, NAMES, Crash, Fault
from tests.simulation.installation import ALL_EXTRAS, Idle, Installation
from tests.simulation.scale import HISTORIES

BATCHES = 10
