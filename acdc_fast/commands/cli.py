"""Command line: `acdc-fast COMMAND`. Errors are one line on stderr; exit code 2 for bad input, 1 for anything else."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import AcdcError, BackendUnavailable, InputError

#: Commands of the training room: module below acdc_fast.training, one line of help.
TRAINING = {
    "train": ("train", "train a network"),
    "evaluate": ("evaluate", "evaluate weights on databases and print the paper's tables"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata; what matters comes as an error
    try:
        options = _parser(arguments).parse_args(arguments)
        code: int = options.run(options) or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        return _complain(error, 2)
    except AcdcError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(f"{error.filename or 'output'}: {error.strerror or error}", 1)


def _complain(error: object, code: int) -> int:
    print(f"acdc-fast: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="acdc-fast", description="Facial landmarks and head pose with AC-DC.")
    parser.add_argument("--version", action="version", version=f"acdc-fast {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str, example: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"example: {example}"
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("align", _align, "find the faces in images", "acdc-fast align photo.jpg -o aligned.png")
    sub.add_argument("images", nargs="+", metavar="IMAGE")
    sub.add_argument("-o", "--out", help="annotated picture; for several images a folder; a .json file for the results")
    sub.add_argument("--json", action="store_true", help="print the results as JSON (layout: docs/json.md)")
    sub.add_argument("--markup", help="markup to draw, 2d68 unless told otherwise")
    _model_arguments(sub)

    sub = command("video", _video, "follow the faces in a video", "acdc-fast video in.mp4 -o out.mp4")
    sub.add_argument("input", metavar="IN")
    sub.add_argument("-o", "--out", help="annotated video, or a .jsonl file; without it JSON lines are printed")
    sub.add_argument("--every", type=_positive, default=10, help="frames between runs of the detector (%(default)s)")
    sub.add_argument("--markup", help="markup to draw, 2d68 unless told otherwise")
    _model_arguments(sub)

    sub = command("batch", _batch, "align a folder or a parquet file of images; takes up a run that was cut off",
                  "acdc-fast batch photos/ -o faces.parquet")  # fmt: skip
    sub.add_argument("input", metavar="IN_DIR|PARQUET")
    sub.add_argument("-o", "--out", required=True, metavar="OUT.parquet")
    sub.add_argument("--column", help="column of a parquet file that holds image paths or bytes")
    _model_arguments(sub)

    for name, (module, text) in TRAINING.items():
        sub = command(name, _training(module), text, f"acdc-fast {name} --help")
        if name in arguments[:1]:  # the room needs torch: it is opened when asked for
            sub = _filled(sub, module)

    sub = command("export", _export, "write the network as ONNX", "acdc-fast export model.onnx --batch dynamic")
    sub.add_argument("out", metavar="OUT.onnx")
    sub.add_argument("--batch", type=_batch_size, default="dynamic", help="a number, or dynamic (%(default)s)")
    _model_arguments(sub)

    sub = command("bench", _bench, "time the backends that this machine has, side by side", "acdc-fast bench --batch 1")
    sub.add_argument("--batch", type=_positive, default=1, help="faces a call (%(default)s)")
    sub.add_argument("--rounds", type=_positive, default=20, help="calls of each backend (%(default)s)")
    _model_arguments(sub)

    command("env", _env, "print what a bug report needs", "acdc-fast env")
    return parser


def _model_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("model")
    group.add_argument("--weights", help="name of weights in the package, or a .safetensors file")
    group.add_argument("--backend", default="auto", choices=("auto", "native", "eager", "gpu"))
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    group.add_argument("--dtype", default="float32")
    group.add_argument("--threads", type=_positive)
    group.add_argument("--stages", type=_stages, help="run only the first stages; auto: as many as a face needs")
    group.add_argument("--resolution", type=_positive, help="side of the crops, unless told otherwise the weights' own")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _stages(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _batch_size(text: str) -> int | str:
    return text if text == "dynamic" else _positive(text)


def _model(options: argparse.Namespace) -> Any:
    from ..model import DEFAULT, Model

    settings = {k: getattr(options, k) for k in ("backend", "device", "dtype", "threads", "stages", "resolution")}
    name = options.weights or DEFAULT
    if name.endswith(".safetensors") or os.path.sep in name:
        return Model(name, **settings)
    return Model.from_pretrained(name, **settings)


def _note(text: object) -> None:
    print(f"acdc-fast: {text}", file=sys.stderr)


def _align(options: argparse.Namespace) -> int:
    from ..photo.draw import draw_faces
    from ..photo.images import load_picture
    from ..readout.results import as_dict, summary

    out = Path(options.out) if options.out else None
    as_json = options.json or (out is not None and out.suffix == ".json")
    places = _places(options.images, out)
    model = _model(options)
    if options.markup and options.markup not in model.markups:
        raise InputError(f"--markup {options.markup}: these weights have {', '.join(model.markups)}")
    results: list[dict[str, Any]] = []
    failed = False
    for name, place in zip(options.images, places, strict=True):
        try:
            picture = load_picture(name)
            faces = model.align(picture)
            results.append(
                {"image": name, "width": picture.width, "height": picture.height, "faces": as_dict(faces)}
            )
            if not len(faces):
                _note(f"{name}: no face found")
            if not as_json:
                print(f"{name}: {len(faces)} face{'' if len(faces) == 1 else 's'}")
                print(summary(faces) + "\n" if len(faces) else "", end="")
            if place is not None:
                _save(draw_faces(picture, faces, options.markup), place)
        except InputError as error:
            failed = True
            _complain(error, 2)
            results.append({"image": name, "error": str(error)})
    if as_json:
        _put_json({"images": results}, out if out is not None and out.suffix == ".json" else None)
    return 2 if failed else 0


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

    text = json.dumps(value, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with written_beside(out) as beside:
        beside.write_text(text, encoding="utf-8")


def _video(options: argparse.Namespace) -> int:
    from ..video.films import run_video

    model = _model(options)
    if options.markup and options.markup not in model.markups:
        raise InputError(f"--markup {options.markup}: these weights have {', '.join(model.markups)}")
    broken = run_video(model, options.input, options.out, options.every, options.markup)
    return _complain(broken, 2) if broken else 0


def _batch(options: argparse.Namespace) -> int:
    from ..batch.job import run_batch

    tally = run_batch(_model(options), options.input, options.out, options.column, note=_note)
    resumed = f", {tally.resumed} of them from the run before" if tally.resumed else ""
    print(f"{options.out}: {tally.rows} images{resumed}; {tally.faces} faces found now, {tally.broken} images not read")
    return 2 if tally.broken else 0


def _filled(sub: argparse.ArgumentParser, module: str) -> argparse.ArgumentParser:
    """The parser with the arguments that the training room gives it."""
    _training_module(module).add_arguments(sub)
    return sub


def _training(module: str) -> Callable[[argparse.Namespace], int | None]:
    return lambda options: _training_module(module).run(options)


def _training_module(name: str) -> Any:
    try:
        return importlib.import_module(f"acdc_fast.training.{name}")
    except ImportError as error:
        reason = f"'{name}' needs the training extra ({error}): pip install 'acdc-fast[train]'"
        raise BackendUnavailable(reason) from error


def _export(options: argparse.Namespace) -> None:
    _model(options).export_onnx(options.out, batch=options.batch)
    print(f"{options.out} is written")


def _bench(options: argparse.Namespace) -> None:
    from .bench import compare

    model = _model(options)
    print(compare(model.weights, options.batch, options.rounds, model.resolution, options.threads))


def _env(options: argparse.Namespace) -> None:
    from .env import env_report

    print(env_report())


if __name__ == "__main__":
    sys.exit(main())
