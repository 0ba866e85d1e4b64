"""Where things lie in the repository."""

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: NASA's portrait that the demo aligns: one face.
PHOTO = ROOT / "examples" / "astronaut.jpg"
LOCKS = ROOT / "tests" / "lock"


def lock_tag() -> str:
    """Name of this Python and platform, as the lock files have it: ``linux-x86_64-cp311``."""
    return f"{sysconfig.get_platform()}-cp{sys.version_info.major}{sys.version_info.minor}"
