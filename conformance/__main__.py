"""Run `python -m conformance`: see `make conformance`."""

import sys

from conformance.cli import main

sys.exit(main())
