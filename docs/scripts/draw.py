"""Draws the pictures of the guides: `python docs/scripts/draw.py` writes them to docs/images. Needs matplotlib.

What is drawn comes from the package itself: the crop from `coordinates.square_from_box`, the heads from
`coordinates.euler_to_matrix`. So the pictures cannot tell of other signs than the code has.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

import acdc_fast
from acdc_fast.photo.coordinates import euler_to_matrix, head_axes, square_from_box
from acdc_fast.photo.crops import crop_faces
from acdc_fast.photo.show import attention_sheet, show_faces

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
BLUE, ORANGE, RED, GREEN = "#2166ac", "#d9730d", "#c0392b", "#1e8449"


def crop_convention(model: acdc_fast.Model) -> None:
    """The detector's box, the square that is cut around it, and the crop with its units."""
    rgb = np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB"))
    faces = model.align(rgb)
    x0, y0, x1, y1 = faces.boxes[0]
    cx, cy, side, _ = square_from_box(faces.boxes)[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.4), dpi=110)
    left.imshow(rgb)
    left.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=ORANGE, lw=2)
    a, b = cx - side / 2, cx + side / 2
    c, d = cy - side / 2, cy + side / 2
    left.plot([a, b, b, a, a], [c, c, d, d, c], color=BLUE, lw=2, ls="--")
    bx, by = (x0 + x1) / 2, (y0 + y1) / 2
    left.plot(bx, by, "o", color=ORANGE)
    left.plot(cx, cy, "s", color=BLUE)
    label = {"backgroundcolor": "white", "fontsize": 9}
    left.text(bx, y0 - 14, "detector's box: w × h", color=ORANGE, ha="center", **label)
    left.text(cx, d + 16, "crop: a square, side = 1.4 · √(w · h)", color=BLUE, ha="center", **label)
    left.annotate(
        "centre of the crop:\n0.12 · h below\nthe centre of the box", (cx, cy), (b + 8, cy + 12), color=BLUE,
        arrowprops={"arrowstyle": "->", "color": BLUE}, **label,
    )  # fmt: skip
    left.set(xlim=(a - 75, b + 75), ylim=(d + 40, c - 60), title="Image pixels: x to the right, y down")
    size = 96
    crop = crop_faces(rgb, square_from_box(faces.boxes), size)[0, 0]
    right.imshow(crop, cmap="gray", extent=(0, 1, 1, 0), vmin=0, vmax=1)
    right.set(title="Crop units: 0 to 1 across the crop", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    right.text(0.02, 1.14, "pixel (row i, column j) of S×S has its centre at ((j + ½)/S, (i + ½)/S)", fontsize=9)
    figure.tight_layout()
    figure.savefig(IMAGES / "crop-convention.png")
    plt.close(figure)


def ring(center: tuple[float, float, float], radii: tuple[float, float], count: int = 40) -> np.ndarray:
    """(count, 3): an ellipse that faces forward."""
    t = np.linspace(0, 2 * np.pi, count)
    x, y, z = center
    return np.stack([x + radii[0] * np.cos(t), y + radii[1] * np.sin(t), np.full_like(t, z)], 1)


def head() -> list[np.ndarray]:
    """Lines of a simple head; x to the right as seen, y up, z to the viewer."""
    t = np.linspace(0, 2 * np.pi, 60)
    outline = np.stack([0.78 * np.cos(t), 1.0 * np.sin(t), np.zeros_like(t)], 1)
    profile = np.stack([np.zeros(30), np.sin(t[:30] - np.pi / 2), 0.75 * np.cos(t[:30] - np.pi / 2)], 1)
    eyes = [ring((s * 0.32, 0.22, 0.66), (0.14, 0.07)) for s in (-1, 1)]
    brows = [np.array([[s * 0.16, 0.4, 0.7], [s * 0.34, 0.46, 0.64], [s * 0.5, 0.4, 0.52]]) for s in (-1, 1)]
    nose = np.array([[0, 0.2, 0.74], [0, -0.16, 0.98], [-0.12, -0.2, 0.8], [0.12, -0.2, 0.8], [0, -0.16, 0.98]])
    return [outline, profile, *eyes, *brows, nose, ring((0, -0.48, 0.68), (0.24, 0.07))]


def draw_head(axes: Axes, yaw: float, pitch: float, roll: float, title: str) -> None:
    """One head turned as `HeadPose` says, with its three axes."""
    matrix = euler_to_matrix(yaw, pitch, roll)
    for number, line in enumerate(head()):
        seen = line @ matrix  # X_camera = Rᵀ · X_head
        axes.plot(seen[:, 0], -seen[:, 1], color="#999999" if number < 2 else "#333333", lw=1.6)
    for direction, color, name in zip(head_axes(matrix), (RED, GREEN, BLUE), ("right", "up", "ahead"), strict=True):
        x, y = direction * 1.25
        if np.hypot(x, y) < 0.05:
            axes.plot(0, 0, "o", color=color, ms=9)
            axes.text(-0.1, 0.12, name, color=color, fontsize=9, ha="right", va="top")
            continue
        axes.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.4})
        below = 0.16 if name == "ahead" else 0.0  # beside the arrow, not on another one
        axes.text(x * 1.14 + below, y * 1.14 + below, name, color=color, fontsize=9, ha="center", va="center")
    axes.set(xlim=(-1.6, 1.6), ylim=(1.6, -1.6), aspect="equal", title=title)
    axes.axis("off")


def shown(model: acdc_fast.Model) -> None:
    """The face of the bundled photo as `show_faces` draws it, and the masks of the last stage."""
    path = ROOT / "examples" / "astronaut.jpg"
    photo = Image.open(path).convert("RGB").crop((130, 20, 330, 230)).resize((800, 840), Image.Resampling.LANCZOS)
    faces = model.align(photo)
    crops = crop_faces(np.asarray(photo), square_from_box(faces.boxes), model.resolution)
    stages = model(crops, all_stages=True).stages or ()
    pictures = [show_faces(photo, faces, kind) for kind in ("pose", "doubt", "mesh")]
    sheet = attention_sheet(crops, [stage.mask for stage in stages])
    wide = Image.new("RGB", (3 * 320, 336 + 180), (16, 24, 32))
    for i, picture in enumerate(pictures):
        wide.paste(picture.resize((320, 336), Image.Resampling.LANCZOS), (320 * i, 0))
    sheet.thumbnail((wide.width, 180))
    wide.paste(sheet, ((wide.width - sheet.width) // 2, 338))
    wide.save(IMAGES / "show.png", optimize=True)


def pose_signs() -> None:
    """Seven heads: straight ahead, and each angle both ways."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.9), dpi=110)
    panels = [
        (0, 0, 0, "straight ahead: all 0"),
        (35, 0, 0, "yaw +35: to the image's left"),
        (0, 30, 0, "pitch +30: chin up"),
        (0, 0, 30, "roll +30: clockwise as seen"),
        None,
        (-35, 0, 0, "yaw −35: to the image's right"),
        (0, -30, 0, "pitch −30: chin down"),
        (0, 0, -30, "roll −30: counter-clockwise"),
    ]
    for place, panel in zip(axes.flat, panels, strict=True):
        if panel is None:
            place.axis("off")
            place.text(0.5, 0.5, "R = R_z(roll) · R_y(yaw) · R_x(pitch)\n\nthe rows of R are the head's\n"
                       "right, up and ahead axes\n(x right, y up, z to the viewer)", ha="center", va="center",
                       fontsize=9, transform=place.transAxes)  # fmt: skip
        else:
            draw_head(place, *panel)
    for place in axes.flat:
        place.title.set_fontsize(10)
    figure.tight_layout()
    figure.savefig(IMAGES / "pose-signs.png")
    plt.close(figure)


if __name__ == "__main__":
    crop_convention(acdc_fast.Model.from_pretrained("acdc-w16-fast"))
    pose_signs()
