"""One row an image: what aligning it gave, or why it could not be read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..markups import MARKUPS
from ..model import Model
from ..photo import coordinates
from ..photo.camera import Camera
from ..photo.images import ImageLike, Picture, load_picture
from ..photo.prefetch import prefetch
from ..readout.blendshapes import told
from ..readout.visibility import MARKUPS as SIGHTED
from ..types import Faces, HeadPose
from .names import printable

ANGLES = ("yaw", "pitch", "roll")


Aligned = tuple[str, "Picture | InputError", "Faces | InputError"]


def aligned(
    model: Model,
    names: Iterable[str],
    images: Iterable[ImageLike],
    search: Mapping[str, Any],
    camera: Camera | None = None,
) -> Iterator[Aligned]:
    """Each image with its name, read, and its faces, or why there are none; in order. The next ones are read ahead.

    ``search``: as in `Model.detect`; ``camera``: as in `Model.align`.
    """

    def read(item: tuple[str, ImageLike]) -> tuple[str, Picture | InputError]:
        name, image = item
        if isinstance(image, InputError):
            return name, image
        try:
            return name, load_picture(image, name if isinstance(image, bytes) else None)
        except InputError as error:
            return name, error

    pictures, pictures_again = itertools.tee(prefetch(read, zip(names, images, strict=True), model.threads))
    readable = (picture for _, picture in pictures if isinstance(picture, Picture))
    faces = model.align_each(readable, camera=camera, **search)
    for name, picture in pictures_again:
        yield name, picture, picture if isinstance(picture, InputError) else next(faces)


def row_of(
    model: Model,
    name: str,
    picture: Picture | InputError,
    faces: Faces | InputError,
    note: Callable[[str], None],
    placed: bool = False,
) -> dict[str, Any]:
    """A row of `schema_of`; an image that cannot be used gives one with its error, and a note."""
    if isinstance(picture, Picture) and isinstance(faces, Faces):
        read = {"image": name, "width": picture.width, "height": picture.height, "error": None}
        return {**read, **_columns(faces, placed)}
    message = printable(str(faces))
    note(message)
    empty: dict[str, Any] = {key: [] for key in _columns(_nothing(model), placed)}
    return {"image": name, "width": None, "height": None, "error": message, **empty}


def faces_of(row: dict[str, Any], markups: tuple[str, ...]) -> Faces:
    """The faces that a row was made of."""

    def array(name: str, *shape: int) -> np.ndarray:
        return np.asarray(row[name], np.float32).reshape(-1, *shape)

    yaw, pitch, roll = (array(angle) for angle in ANGLES)
    matrix = coordinates.euler_to_matrix(yaw, pitch, roll).astype(np.float32)
    place = array("translation", 3) if "translation" in row else None
    pose = HeadPose(yaw, pitch, roll, matrix, place) if len(yaw) or not row["boxes"] else None
    return Faces(
        array("boxes", 4), array("scores"),
        {m: array(f"landmarks_{m}", MARKUPS[m].points, 2) for m in markups},
        {m: array(f"spread_{m}", MARKUPS[m].points) for m in markups},
        {m: array(f"confidence_{m}", MARKUPS[m].points) for m in markups}, pose,
        visible={
            m: array(f"visible_{m}", MARKUPS[m].points) for m in sighted(markups) if row[f"visible_{m}"] is not None
        },
        blendshapes={n: array(f"blendshape_{n}") for n in told() if row[f"blendshape_{n}"] is not None},
    )  # fmt: skip


def schema_of(pa: Any, markups: tuple[str, ...], placed: bool = False) -> Any:
    """Columns of the parquet files; ``placed``: a camera was told, and each face has a translation."""

    def each(count: int) -> Any:
        return pa.list_(pa.list_(pa.float32(), count))

    fields = [("image", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("error", pa.string())]
    fields += [("boxes", each(4)), *((name, pa.list_(pa.float32())) for name in ("scores", *ANGLES))]
    fields += [("translation", each(3))] if placed else []
    for markup in markups:
        count = MARKUPS[markup].points
        fields += [(f"landmarks_{markup}", each(2 * count)), (f"spread_{markup}", each(count))]
        fields += [(f"confidence_{markup}", each(count))]
        fields += [(f"visible_{markup}", each(count))] if markup in SIGHTED else []
    fields += [(f"blendshape_{name}", pa.list_(pa.float32())) for name in told()]
    return pa.schema(fields)


def sighted(markups: tuple[str, ...]) -> tuple[str, ...]:
    """Those that have a column of what is in sight, null where the weights do not tell it."""
    return tuple(m for m in markups if m in SIGHTED)


def _columns(faces: Faces, placed: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"boxes": faces.boxes.tolist(), "scores": faces.scores.tolist()}
    for angle in ANGLES:
        row[angle] = [] if faces.pose is None else getattr(faces.pose, angle).tolist()
    if placed:
        place = None if faces.pose is None else faces.pose.translation
        row["translation"] = [] if place is None else place.tolist()
    for markup, points in faces.landmarks.items():
        row[f"landmarks_{markup}"] = points.reshape(len(faces), points.shape[1] * 2).tolist()
        row[f"spread_{markup}"] = faces.spread[markup].tolist()
        row[f"confidence_{markup}"] = faces.confidence[markup].tolist()
        if markup in SIGHTED:
            row[f"visible_{markup}"] = faces.visible[markup].tolist() if markup in faces.visible else None
    for name in told():
        row[f"blendshape_{name}"] = faces.blendshapes[name].tolist() if faces.blendshapes else None
    return row


def _nothing(model: Model) -> Faces:
    none = {m: np.zeros((0, MARKUPS[m].points, 2)) for m in model.markups}
    flat = {m: np.zeros((0, MARKUPS[m].points)) for m in model.markups}
    return Faces(np.zeros((0, 4)), np.zeros(0), none, flat, flat, None)
