"""Where the checkout lies, and the real data beside it (``$MNER_DATA``), which is not part of it."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
DATA = Path(os.environ.get("MNER_DATA", SHARED / "data"))
CASES = SHARED / "cases"
