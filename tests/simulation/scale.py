"""How much is simulated: `make test` sets KNS_SIMULATION_HISTORIES to 10 000, `make verify` has to be quick."""

import os

ALL_HISTORIES = 10_000
HISTORIES = int(os.environ.get("KNS_SIMULATION_HISTORIES") or 100)
