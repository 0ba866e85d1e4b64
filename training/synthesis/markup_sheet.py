"""Markup 2d98 on rendered faces, and on genuine WFLW faces if given: a picture for comparing them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from .dataset import SHOTS, synthetic

TILE = 400


def drawn(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face cut out and enlarged, with its points numbered."""
    low, high = points.min(0), points.max(0)
    scale = TILE / (float((high - low).max()) * 1.3)
    shift = TILE / 2 - (low + high) / 2 * scale
    move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    tile = cv2.warpAffine(image, move, (TILE, TILE), flags=cv2.INTER_CUBIC)
    tile = cv2.cvtColor((tile // 16 * 16).astype(np.uint8), cv2.COLOR_GRAY2BGR)  # few greys keep the file small
    for number, point in enumerate(points):
        x, y = np.rint(point * scale + shift).astype(int).tolist()
        cv2.circle(tile, (x, y), 1, (0, 255, 0), -1)
        cv2.putText(tile, str(number), (x + 3, y - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.28, (0, 255, 255), 1)
    return np.asarray(tile)


def genuine(folder: Path) -> list[np.ndarray]:
    """WFLW's own faces and points, from COCO-style JSON beside the pictures."""
    listed = json.loads((folder / "test_wflw.json").read_text())
    files = {entry["id"]: entry["file_name"] for entry in listed["images"]}
    tiles = []
    for entry in listed["annotations"]:
        image = cv2.imread(str(folder / Path(files[entry["image_id"]]).name), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            tiles.append(drawn(image, np.array(entry["keypoints"]).reshape(98, 3)[:, :2]))
    return tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds ict_facekit.npz")
    parser.add_argument(
        "--wflw", type=Path, help="folder with test_wflw.json and its pictures, for a row of genuine faces"
    )
    parser.add_argument("--faces", type=int, nargs="*", default=[3, 18, 7, 25], help="people to draw")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    database = synthetic(options.data_root, "train", size=320)
    faces = [database.rendered(person * SHOTS) for person in options.faces]
    rows = [[drawn(face.image, face.landmarks["2d98"]) for face in faces]]
    if options.wflw:
        rows.insert(0, genuine(options.wflw))
    wide = min(len(row) for row in rows)
    cv2.imwrite(
        str(options.output), np.vstack([np.hstack(row[:wide]) for row in rows]), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )


if __name__ == "__main__":
    main()
