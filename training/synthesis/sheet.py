"""A contact sheet of drawn faces, with their points if asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from acdc_fast.files import written_beside

from .dataset import SHOTS, Drawn

TILE = 160
GREYS = 32  # of a sheet without points: fewer grey levels make a smaller file


def contact_sheet(database: Drawn, path: Path, markup: str | None = None, rows: int = 5, columns: int = 8) -> None:
    """One shot of each of ``rows``×``columns`` people. Visible points are green, hidden ones red."""
    count = rows * columns
    step = max(1, min(SHOTS, len(database) // count))
    tiles = [_tile(database, i * step + i % step, markup) for i in range(count)]
    sheet = np.vstack([np.hstack(tiles[r * columns : (r + 1) * columns]) for r in range(rows)])
    if markup is None:
        sheet = np.rint(sheet * ((GREYS - 1) / 255)).astype(np.uint8) * np.uint8(255 // (GREYS - 1))
    done, code = cv2.imencode(path.suffix or ".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ValueError(f"{path}: not a picture format that can be written")
    with written_beside(path) as beside:
        beside.write_bytes(code.tobytes())


def _tile(database: Drawn, index: int, markup: str | None) -> np.ndarray:
    drawn = database.rendered(index)
    size = TILE if markup is None else 3 * TILE
    scale = size / max(drawn.image.shape)
    move = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])  # pixel centres at integers
    tile = cv2.warpAffine(drawn.image, move, (size, size), flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if markup is None:
        return np.asarray(tile)
    tile = cv2.cvtColor(tile, cv2.COLOR_GRAY2BGR)
    for point, visible in zip(drawn.landmarks[markup], drawn.visible[markup], strict=True):
        x, y = np.rint((point + 0.5) * scale - 0.5).astype(int).tolist()
        cv2.circle(tile, (x, y), 2, (0, 220, 0) if visible else (0, 0, 255), -1, cv2.LINE_AA)
    return np.asarray(tile)
