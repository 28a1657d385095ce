"""How much is simulated: `make test` sets KNS_SIMULATION_HISTORIES to 10 000, `make verify` has to be quick."""

import os

ALL_HISTORIES = 10_000
HISTORIES = int(os.environ.get("KNS_SIMULATION_HISTORIES") or 100)
STRIDE = max(1, min(12, ALL_HISTORIES // HISTORIES))  # of the exhaustive tests every so many-th
