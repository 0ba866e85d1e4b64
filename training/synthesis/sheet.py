"""A contact sheet of rendered faces, with their points where asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .dataset import SHOTS, Synthetic


def contact_sheet(database: Synthetic, path: Path, markup: str | None = None, rows: int = 5, columns: int = 8) -> None:
    """One shot each of ``rows``×``columns`` people. Visible points are green, hidden ones red."""
    tiles = [_tile(database, i * SHOTS + i % SHOTS, markup) for i in range(rows * columns)]
    sheet = np.vstack([np.hstack(tiles[r * columns : (r + 1) * columns]) for r in range(rows)])
    done, code = cv2.imencode(path.suffix or ".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ValueError(f"{path}: not a picture format that can be written")
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(code.tobytes())
    partial.replace(path)


def _tile(database: Synthetic, index: int, markup: str | None) -> np.ndarray:
    drawn = database.rendered(index)
    if markup is None:
        return drawn.image
    scale = 2
    tile = cv2.cvtColor(cv2.resize(drawn.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for point, visible in zip(drawn.landmarks[markup], drawn.visible[markup], strict=True):
        at = np.rint((point + 0.5) * scale - 0.5).astype(int)
        cv2.circle(tile, (int(at[0]), int(at[1])), 2, (0, 220, 0) if visible else (0, 0, 255), -1, cv2.LINE_AA)
    return tile
