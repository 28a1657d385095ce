"""
The scheduler of these tests: that of `bench.scale_kns`, whose wall clock is set by a file.

Everything in the process sees the jump, kns's clock and what compares it with the API server's. The monotonic clocks do
not jump, as on a machine whose clock is set.
"""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

AHEAD = "KNS_TEST_CLOCK_AHEAD"  # a file with the seconds that this machine's clock is ahead

_real_time = time.time


def _jumped_time() -> float:
    return _real_time() + float(Path(os.environ[AHEAD]).read_text())


if __name__ == "__main__":
    time.time = _jumped_time  # before kns is imported, which keeps the function

    from bench.scale_kns import SimulatedVirtualClusters
    from kns import main
    from kns.adapters.clock import SystemClock
    from kns.wiring import parts

    class JumpingClock(SystemClock):
        def now(self) -> datetime:
            return datetime.fromtimestamp(time.time(), UTC)

    parts.KubeVirtualClusters = SimulatedVirtualClusters  # type: ignore[assignment,attr-defined]
    main.SystemClock = JumpingClock  # type: ignore[attr-defined]
    sys.exit(main.run())
