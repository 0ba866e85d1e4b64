"""How many faces are found, of which size, how fast: `detect` on collages of labelled faces on grey.

    python bench/find_faces.py DATA_ROOT [--sizes 30 80 400] [--pictures 1000x750 4000x3000] [--default]
        [--detector own]

For each picture size and face height: faces found of those in the collage (at most 20), other boxes, seconds. The
faces are such as libfacedetection finds, whichever detector looks at the collages.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from PIL import Image

from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.photo.detection import Search, detect, overlap
from acdc_fast.training.data import open_database

#: Side of the pasted part, in face boxes: the crops of the list have about as much around most faces.
CONTEXT = 1.5


def collage(faces: list, size: tuple[int, int], height: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture with as many of the faces as fit, and their boxes (N, 4)."""
    picture, boxes = Image.new("RGB", size, (128, 128, 128)), []
    cell = int(height * CONTEXT * 1.1)
    places = [(x, y) for y in range(0, size[1] - cell, cell) for x in range(0, size[0] - cell, cell)]
    rng.shuffle(places)
    for (x, y), (image, box) in zip(places, faces, strict=False):
        scale = height / (box[3] - box[1])
        cut = CONTEXT * (box[3] - box[1]) / 2
        cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        part = image.crop((round(cx - cut), round(cy - cut), round(cx + cut), round(cy + cut)))
        side = round(part.width * scale)
        picture.paste(part.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        corner = np.array([round(cx - cut), round(cy - cut)] * 2)
        boxes.append((box - corner) * scale + (x, y, x, y))
    return np.asarray(picture), np.array(boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 40, 50, 60, 80, 120, 400])
    parser.add_argument("--pictures", nargs="+", default=["1000x750", "2000x1500", "4000x3000"])
    parser.add_argument("--default", action="store_true", help="without min_size")
    parser.add_argument("--detector", choices=("library", "own", "both"), default="both")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    database = open_database("mtfl", args.root, "train", derived=False)
    faces: list = []
    for index in rng.permutation(len(database)):
        sample = database[int(index)]
        image = sample.image if sample.image.ndim == 3 else np.repeat(sample.image[..., None], 3, 2)
        image = Image.fromarray(np.ascontiguousarray(image, np.uint8))
        points = next(iter(sample.landmarks.values()))
        box = box_from_points(np.asarray(points)[None])[0]
        alone = len(detect(np.asarray(image), Search("library"))[0]) == 1  # use faces that the library finds
        if alone and box[3] - box[1] > 60:
            faces.append((image, box))
        if len(faces) == 20:
            break
    for name in args.pictures:
        size = tuple(int(side) for side in name.split("x"))
        for height in args.sizes:
            picture, boxes = collage(faces, size, height, rng)
            search = Search(args.detector, min_size=None if args.default else 0.7 * height)
            start = time.perf_counter()
            given, _ = detect(picture, search)
            seconds = time.perf_counter() - start
            best = [max((overlap(box, other) for other in given), default=0) for box in boxes]
            hits = sum(value > 0.4 for value in best)
            print(
                f"{name} {height:4d}: {hits:2d} of {len(boxes):2d}, {len(given) - hits:2d} more, {seconds:6.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
