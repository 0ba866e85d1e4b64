"""The points and pose of one face with ONNX Runtime alone: `python onnx_align.py model.onnx photo.jpg X0 Y0 X1 Y1`."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def lerp(values, at):
    """Rows of ``values`` at the places ``at``, linear; beyond the border the edge goes on."""
    at = np.clip(at, 0, len(values) - 1)
    low = np.minimum(at.astype(int), len(values) - 2)
    return (values[low].T * (1 - (at - low)) + values[low + 1].T * (at - low)).T


def align(session, photo, box):
    recipe = json.loads(session.get_modelmeta().custom_metadata_map["crop"])
    grey = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("L"), np.float32)
    x0, y0, x1, y1 = box
    size, (w, h) = recipe["size"], (x1 - x0, y1 - y0)
    side = recipe["scale"] * (w * h) ** 0.5
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + np.multiply(recipe["shift"], (w, h))
    k = max(1, round(side / size))
    columns, rows = centre[:, None] + side * ((np.arange(size * k) + 0.5) / (size * k) - 0.5)
    fine = lerp(lerp(grey, rows).T, columns).T
    crop = fine.reshape(size, k, size, k).mean((1, 3)) / recipe["divisor"]
    answer = session.run(["landmarks_2d68", "pose"], {"crops": crop[None, None].astype(np.float32)})
    return centre + side * (answer[0][0] - 0.5), answer[1][0]


if __name__ == "__main__":
    points, pose = align(onnxruntime.InferenceSession(sys.argv[1]), sys.argv[2], [float(x) for x in sys.argv[3:7]])
    print(points.round(1).tolist(), "yaw, pitch, roll:", pose.round(1).tolist())
