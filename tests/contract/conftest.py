"""Put the runner of the init image on the path, as its image does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "init-image"))
