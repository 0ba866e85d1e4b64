"""What numpy raises for a file that is not the arrays it should be."""

from __future__ import annotations

import zipfile
import zlib

#: An empty file is an `EOFError`, a cut one a `BadZipFile` or a `zlib.error`, a missing array a `KeyError`.
NOT_ARRAYS = (OSError, ValueError, EOFError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)
