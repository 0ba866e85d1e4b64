"""Where things lie in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: NASA's portrait that the demo aligns: one face.
PHOTO = ROOT / "examples" / "astronaut.jpg"
