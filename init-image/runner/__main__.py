"""`python3 -m runner`."""

from runner.app import main

raise SystemExit(main())
