"""What several commands share: arguments of the model, and what is said on stderr."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ..bundled import DEFAULT, bundled, bundled_path


def complain(error: object, code: int) -> int:
    """One line on stderr; gives the exit code back."""
    print(f"acdc-fast: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def note(text: object) -> None:
    print(f"acdc-fast: {text}", file=sys.stderr)


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


def search_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("search for faces")
    group.add_argument("--detector", choices=("library", "own"), default="library", help="who finds them (%(default)s)")
    group.add_argument("--min-score", type=float, metavar="S", help="drop faces below this score (0.4)")
    group.add_argument("--max-faces", type=positive, metavar="N", help="give the N largest faces")
    group.add_argument(
        "--min-size", type=float, metavar="PIXELS",
        help="smallest face to find; smaller takes longer (default: about 1/30 of the longest side)",
    )


def search_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings for `Model.align`; raises `InputError` for one that cannot be."""
    from ..photo.detection import Search

    settings = {k: getattr(options, k) for k in ("detector", "min_score", "max_faces", "min_size")}
    Search(**settings)  # before any picture is read
    return settings


def positive(text: str) -> int:
    """For argparse: a whole number, at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not {text[:40]!r}")
    return value


def stages_or_auto(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def _is_file(name: str) -> bool:
    return name.endswith(".safetensors") or os.path.sep in name


def weights_named(options: argparse.Namespace) -> tuple[str, Any]:
    """Name and `Weights` of ``--weights``."""
    from ..weights import load_weights

    name = options.weights or DEFAULT
    return name, load_weights(name if _is_file(name) else bundled_path(name))


def model_of(options: argparse.Namespace) -> Any:
    from ..model import Model

    settings = {k: getattr(options, k) for k in ("backend", "device", "dtype", "threads", "stages", "resolution")}
    name = options.weights or DEFAULT
    return Model(name, **settings) if _is_file(name) else Model.from_pretrained(name, **settings)
