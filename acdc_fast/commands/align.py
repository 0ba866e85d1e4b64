"""`acdc-fast align`: the faces of pictures, drawn or as numbers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checks import check_free
from ..errors import InputError, one_line
from .arguments import (
    camera_arguments,
    camera_of,
    check_markup,
    complain,
    counted,
    make_room,
    model_arguments,
    model_of,
    note,
    overwrite_argument,
    search_arguments,
    search_of,
)
from .streams import holds_everything

#: One line of help, and an example.
HELP = "find the faces in images"
EXAMPLE = "acdc-fast align photo.jpg -o aligned.png"
#: What `photo.show.show_faces` draws, and the masks.
SHOWN = ("points", "pose", "doubt", "mesh", "index", "attention")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="a file, a folder of images, a pattern, or - for stdin")
    sub.add_argument("-o", "--out", help="annotated picture; for several images a folder; a .json file for the results")
    overwrite_argument(sub)
    sub.add_argument("--json", action="store_true", help="print JSON (docs/reference/json-and-parquet.md)")
    sub.add_argument("--markup", help="markup to draw (default: 2d68)")
    sub.add_argument("--show", choices=SHOWN, default="points", help="what to draw (%(default)s)")
    sub.add_argument("--debug", metavar="DIR", help="write how each result came about: crops, stages, what was tried")
    search_arguments(sub)
    camera_arguments(sub)
    model_arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ..batch.names import printable
    from ..photo.images import load_picture
    from ..photo.show import show_faces
    from ..readout.results import as_dict, summary
    from .debugging import attention, recorded_log, write_debug

    out = Path(options.out) if options.out else None
    as_json = options.json or (out is not None and out.suffix == ".json")
    images = _expanded(options.images)
    places = _places(images, out)
    results_out = out if out is not None and out.suffix == ".json" else None
    check_free([*places, results_out], options.overwrite)
    if options.show != "points" and not any(places):
        raise InputError(f"--show {options.show} draws a picture: name it with -o")
    search, camera = search_of(options), camera_of(options)
    model = model_of(options)
    check_markup(options.markup, model)
    make_room(out)
    results: list[dict[str, Any]] = []
    failed = False
    for name, place in zip(images, places, strict=True):
        written = printable(name)
        told = one_line(written)
        try:
            if name != "-" and os.path.isdir(name):  # `_expanded` found nothing in it
                raise InputError(f"{name}: holds no images (.jpg, .png and others that Pillow reads)")
            picture = load_picture(sys.stdin.buffer.read(), "-") if name == "-" else load_picture(name)
            with recorded_log() as log:
                faces = model.align(picture, camera=camera, **search)
            size = {"width": picture.width, "height": picture.height}
            results.append({"image": written, **size, "faces": as_dict(faces)})
            if not len(faces):
                note(f"{told}: no face found")
            if not as_json:
                print(f"{told}: {counted(len(faces), 'face')}")
                print(summary(faces) + "\n" if len(faces) else "", end="")
            if place is not None:
                sheet = attention(model, picture, log) if options.show == "attention" else None
                _save(sheet or show_faces(picture, faces, options.show, options.markup), place)
            if options.debug:
                folder = Path(options.debug) / f"{len(results)}-{Path(name).stem}"
                write_debug(folder, model, picture, faces, log)
        except InputError as error:
            failed = True
            complain(error, 2)
            results.append({"image": written, "error": str(error)})
    if as_json:
        _put_json({"images": results}, results_out)
    return 2 if failed else 0


def _expanded(names: Sequence[str]) -> list[str]:
    """Replaces a folder by its images, and a pattern that the shell did not expand by its matches, sorted by name.

    A pattern without a match stays as it is, and gives an error when its turn comes.
    """
    from ..photo.folders import inside

    found: list[str] = []
    for name in names:
        found += (None if name == "-" else inside(name)) or [name]
    return found


def _places(images: Sequence[str], out: Path | None) -> list[Path | None]:
    """Where each image's annotated picture goes; names in a folder are made distinct."""
    from PIL import Image

    if out is None or out.suffix == ".json":
        return [None] * len(images)
    known = Image.registered_extensions()
    if len(images) == 1 and not out.is_dir() and out.suffix:
        if known.get(out.suffix.lower()) not in Image.SAVE:
            raise InputError(f"{out}: pictures cannot be written in this format; use .png or .jpg")
        if out.exists() and Path(images[0]).exists() and out.samefile(images[0]):
            raise InputError(f"{out}: would overwrite the image that is being read")
        return [out]
    if (out.exists() and not out.is_dir()) or known.get(out.suffix.lower()):
        if len(images) == 1:
            raise InputError(f"{out}: tells no format; name a picture (.png, .jpg), a .json file or a folder")
        raise InputError(f"{out}: the results of {len(images)} images need a folder")
    places: list[Path | None] = []
    for name in images:
        stem, number = Path(name).stem, 1
        place = out / f"{stem}.png"
        while place in places or (place.exists() and Path(name).exists() and place.samefile(name)):
            number += 1
            place = out / f"{stem}-{number}.png"
        places.append(place)
    return places


def _save(picture: Any, place: Path) -> None:
    from ..files import written_beside

    with written_beside(place) as beside:
        picture.save(beside, **({"quality": 95} if place.suffix.lower() in (".jpg", ".jpeg") else {}))


def _put_json(value: object, out: Path | None) -> None:
    from ..files import written_beside

    text = json.dumps(value, ensure_ascii=out is None and not holds_everything()) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with written_beside(out) as beside:
        beside.write_text(text, encoding="utf-8")
