"""How much is simulated. The quick suite takes the default; KNS_SIMULATION_HISTORIES at 10 000 tries everything."""

import os

ALL_HISTORIES = 10_000
HISTORIES = int(os.environ.get("KNS_SIMULATION_HISTORIES") or 50)
IS_EXHAUSTIVE = HISTORIES >= ALL_HISTORIES
STRIDE = max(1, min(24, ALL_HISTORIES // HISTORIES))  # a frozen leader is tried at every so many-th call
