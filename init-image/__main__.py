"""The image's entry point, `python3 -I /opt/kns-init`: no variable of an app changes how Python runs here."""

from runner.app import main

raise SystemExit(main())
