"""Markup 2d98 on rendered faces, and on genuine WFLW faces if given: a picture for comparing them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError
from acdc_fast.files import written_beside

from ..command_errors import check_places, errors_in_one_line, overwrite_argument
from .dataset import SHOTS, synthetic

TILE = 400
#: One above the largest number of a person.
LAST = 250_000


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
    try:
        listed = json.loads((folder / "test_wflw.json").read_text())
        files = {entry["id"]: entry["file_name"] for entry in listed["images"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'test_wflw.json'}: cannot be read as WFLW's list: {error}") from error
    tiles = []
    for entry in listed["annotations"]:
        image = cv2.imread(str(folder / Path(files[entry["image_id"]]).name), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            tiles.append(drawn(image, np.array(entry["keypoints"]).reshape(98, 3)[:, :2]))
    return tiles


@errors_in_one_line()
def main() -> int:
    parser = Parser(prog="python -m acdc_fast.training.synthesis.markup_sheet", description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds ict_facekit.npz")
    parser.add_argument(
        "--wflw", type=Path, help="folder with test_wflw.json and its pictures, for a row of genuine faces"
    )
    parser.add_argument("--faces", type=int, nargs="*", default=[3, 18, 7, 25], help="people to draw")
    parser.add_argument("-o", "--output", type=Path, required=True)
    overwrite_argument(parser)
    options = parser.parse_args()
    if not options.faces or not 0 <= min(options.faces) <= max(options.faces) < LAST:
        parser.error(f"--faces: numbers of people from 0 to {LAST - 1}, at least one")
    if options.output.suffix.lower() != ".png":
        parser.error(f"-o {options.output}: the sheet is a PNG: name it so")
    check_places(options, options.output)
    database = synthetic(options.data_root, "train", size=320)
    faces = [database.rendered(person * SHOTS) for person in options.faces]
    rows = [[drawn(face.image, face.landmarks["2d98"]) for face in faces]]
    if options.wflw:
        rows.insert(0, genuine(options.wflw))
    wide = min(len(row) for row in rows)
    if not wide:
        raise InputError(f"--wflw {options.wflw}: none of the pictures of test_wflw.json is there")
    sheet = np.vstack([np.hstack(row[:wide]) for row in rows])
    _, code = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with written_beside(options.output) as beside:
        beside.write_bytes(code.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
