"""The amount of simulation. The quick suite uses the default; KNS_SIMULATION_HISTORIES=10000 tries everything."""

import os

ALL_HISTORIES = 10_000
HISTORIES = int(os.environ.get("KNS_SIMULATION_HISTORIES") or 50)
IS_EXHAUSTIVE = HISTORIES >= ALL_HISTORIES
STRIDE = max(1, min(24, ALL_HISTORIES // HISTORIES))  # a leader is frozen at every STRIDE-th call
