"""Markup 98 of rendered faces beside genuine WFLW annotations: the picture to judge the mapping by."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from .dataset import SHOTS, synthetic

TILE = 448


def drawn(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face cut out, enlarged, its points numbered."""
    low, high = points.min(0), points.max(0)
    side = float((high - low).max()) * 1.3
    scale = TILE / side
    shift = TILE / 2 - (low + high) / 2 * scale
    move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    tile = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), move, (TILE, TILE), flags=cv2.INTER_CUBIC)
    for number, point in enumerate(points):
        x, y = np.rint(point * scale + shift).astype(int).tolist()
        cv2.circle(tile, (x, y), 2, (0, 255, 0), -1, cv2.LINE_AA)
        cv2.putText(tile, str(number), (x + 3, y - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.28, (0, 255, 255), 1, cv2.LINE_AA)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description="Markup 98 of rendered faces beside genuine WFLW faces.")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--faces", type=int, nargs="*", default=[3, 6, 9, 14])
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    folder = options.data_root / "formats" / "wflw"
    listed = json.loads((folder / "test_wflw.json").read_text())
    files = {entry["id"]: entry["file_name"] for entry in listed["images"]}
    genuine = []
    for entry in listed["annotations"]:
        image = cv2.imread(str(folder / Path(files[entry["image_id"]]).name), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            genuine.append(drawn(image, np.array(entry["keypoints"]).reshape(98, 3)[:, :2]))
    database = synthetic(options.data_root, "train", size=320)
    rendered = []
    for person in options.faces:
        face = database.rendered(person * SHOTS)
        rendered.append(drawn(face.image, face.landmarks["2d98"]))
    width = min(len(genuine), len(rendered))
    sheet = np.vstack([np.hstack(genuine[:width]), np.hstack(rendered[:width])])
    cv2.imwrite(str(options.output), sheet)


if __name__ == "__main__":
    main()
