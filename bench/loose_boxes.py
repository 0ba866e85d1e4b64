"""What boxes of other kinds do to points and pose: error against people's points, pose against the detector's own box.

    python bench/loose_boxes.py DATA_ROOT [--weights acdc-w16-fast acdc-w32] [--every 8]

Of every so many faces of `mtfl-aflw-dev` the box that the default detector gives is scaled about its middle, shifted
and changed to the kinds of other people's boxes. For each kind: error of the five points, % of the distance of the
eyes, mean and median; both relative to those of the detector's own box; 50th and 95th percentile of the angle between
the poses; faces whose points are off by more than a fifth of the distance of the eyes beyond the own box's error
("lost"), and how many of these still score at least 0.5; crops that the network read for each face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from detector_quality import development, fitting, upright

from acdc_fast import Model
from acdc_fast.photo.detection import Search, detect

#: Factors of width and height, then shifts of the middle as shares of width and height.
KINDS: dict[str, tuple[float, float, float, float]] = {
    "the detector's": (1, 1, 0, 0),
    **{f"× {f}": (f, f, 0, 0) for f in (0.5, 0.6, 0.8, 1.25, 1.5, 1.75, 2, 2.5)},
    "0.3 right": (1, 1, 0.3, 0),
    "0.3 left": (1, 1, -0.3, 0),
    "0.3 below": (1, 1, 0, 0.3),
    "0.3 above": (1, 1, 0, -0.3),
    "square": (0, 0, 0, 0),  # of the longer side
    "brows to chin (68 points)": (1, 0.8, 0, 0.1),
    "hair to chin": (1.15, 1.3, 0, -0.15),
    "eyes to mouth": (0.7, 0.5, 0, 0.1),
    "head and shoulders": (2.2, 2.1, 0, 0.45),
}
LOST = 20.0


def of_kind(box: np.ndarray, kind: str) -> np.ndarray:
    across, down, right, below = KINDS[kind]
    side = box[2:] - box[:2]
    middle = (box[:2] + box[2:]) / 2 + side * (right, below)
    half = (side * (across, down) if across else np.full(2, side.max())) / 2
    return np.concatenate([middle - half, middle + half])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", nargs="+", default=["acdc-w16-fast", "acdc-w32"])
    parser.add_argument("--every", type=int, default=8)
    args = parser.parse_args()
    chosen = []
    faces = development(args.root)[:: args.every]
    for (rgb, five), (_, middles, sizes) in zip(faces, upright(faces), strict=True):
        boxes, scores = detect(rgb, Search(), 1)
        fits = np.flatnonzero(fitting(np.concatenate([boxes, scores[:, None]], 1), middles[0], sizes[0]))
        if len(fits):
            chosen.append((rgb, five, boxes[fits[scores[fits].argmax()]].astype(float)))
    for name in args.weights:
        model = Model.from_pretrained(name, threads=1)
        run, crops = model._run, [0]

        def counted(given: np.ndarray, *rest: object, run=run, crops=crops, **more: object) -> object:  # type: ignore
            crops[0] += len(given)
            return run(given, *rest, **more)

        model._run = counted  # type: ignore[method-assign]
        own: dict[str, np.ndarray] = {}
        print(f"{name}, {len(chosen)} faces: mean, median (relative), pose 50 % 95 %, lost (score ≥ 0.5), crops")
        for kind in KINDS:
            errors, poses, scores, crops[0] = [], [], [], 0
            for rgb, five, box in chosen:
                found = model.align(rgb, boxes=of_kind(box, kind)[None])
                gap = np.linalg.norm(found.landmarks["2d5"][0] - five, axis=1).mean()
                errors.append(100 * gap / np.linalg.norm(five[1] - five[0]))
                assert found.pose is not None
                poses.append(found.pose.matrix[0])
                scores.append(found.scores[0])
            error, pose, score = np.array(errors), np.array(poses), np.array(scores)
            own = own or {"error": error, "pose": pose}
            cosine = (np.einsum("nij,nij->n", pose, own["pose"]) - 1) / 2
            half, most = np.percentile(np.degrees(np.arccos(np.clip(cosine, -1, 1))), [50, 95])
            lost = error > own["error"] + LOST
            mean, middle = error.mean(), np.median(error)
            print(
                f"{kind:26s} {mean:5.2f} {middle:5.2f} ({mean / own['error'].mean():.3f} "
                f"{middle / np.median(own['error']):.3f})  {half:4.1f}° {most:5.1f}°  "
                f"{lost.sum():2d} ({(lost & (score >= 0.5)).sum()})  {crops[0] / len(chosen):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
