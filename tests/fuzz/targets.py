"""What is fuzzed: each target takes bytes and may give a result or raise `AcdcError`; nothing else."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acdc_fast.errors import AcdcError, InputError

ROOT = Path(__file__).resolve().parents[2]
SIDE = 24  # pixels


class Target(NamedTuple):
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes, Path], None]  # bytes, and a file that it may write
    longest: int  # bytes


def _picture(seed: int = 0, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = [128 + 90 * np.sin(0.3 * x + 0.2 * c * y + seed) for c in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


def images() -> list[bytes]:
    from PIL import Image

    out = []
    for format, mode, options in [
        ("JPEG", "RGB", {}), ("JPEG", "L", {"progressive": True}), ("JPEG", "CMYK", {}), ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("WEBP", "RGB", {}), ("WEBP", "RGBA", {}),
        ("BMP", "RGB", {}), ("GIF", "P", {}), ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}), ("PPM", "RGB", {}), ("JPEG2000", "RGB", {}), ("TIFF", "L", {"compression": "jpeg"}),
    ]:  # fmt: skip
        picture, file = Image.fromarray(_picture()), io.BytesIO()
        picture = picture.convert("L").convert(mode) if mode in ("I;16", "F") else picture.convert(mode)
        if format == "JPEG":
            exif = Image.Exif()
            exif[0x0112] = 6
            options = {**options, "exif": exif}
        try:
            picture.save(file, format, **options)
        except (OSError, ValueError, KeyError):  # Pillow was built without it
            continue
        out.append(file.getvalue())
    return out


def run_image(data: bytes, path: Path) -> None:
    from acdc_fast.photo.coordinates import square_from_box
    from acdc_fast.photo.crops import crop_faces
    from acdc_fast.photo.images import load_picture

    picture = load_picture(data, "fuzzed")
    if picture.width * picture.height > 1 << 22:
        return  # decoded within its bounds; cropping it would only take long
    box = np.array([[0.1 * picture.width, 0.1 * picture.height, 0.9 * picture.width + 1, 0.8 * picture.height + 1]])
    crop = crop_faces(picture.rgb, square_from_box(box.astype(np.float32)), 32)
    if not (np.isfinite(crop).all() and crop.min() >= 0 and crop.max() <= 1 + 1e-6):  # weights sum to 1, but rounded
        raise AssertionError("a crop outside [0, 1]")


@cache
def _tiny() -> Any:
    from acdc_fast.config import ACDCConfig
    from acdc_fast.network_arrays import state_shapes
    from acdc_fast.weights import Weights

    config, rng = ACDCConfig(width=4, stages=1), np.random.default_rng(0)
    arrays = {n: np.abs(rng.normal(0.5, 0.2, s)).astype(np.float32) for n, s in state_shapes(config).items()}
    return Weights(config, arrays, card={"resolution": "32", "name": "tiny"})


def weights() -> list[bytes]:
    from acdc_fast.weights import serialised

    return [serialised(_tiny()), serialised(_tiny(), half=True)]


def run_weights(data: bytes, path: Path) -> None:
    from acdc_fast.model import Model
    from acdc_fast.weights import load_weights

    path.write_bytes(_with_true_digest(data))
    found = load_weights(path)
    model = Model(found, backend="native", threads=1)
    side = 32
    model(np.full((1, 1, side, side), 0.5, np.float32))


def _with_true_digest(data: bytes) -> bytes:
    """Half of the files (by their length) get their digest taken out: else most would end there."""
    if len(data) % 2 or len(data) < 8:
        return data
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        header["__metadata__"].pop("digest", None)
        text = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return data
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def settings() -> list[bytes]:
    found = [p.read_bytes() for p in sorted((ROOT / "configs").rglob("*.yaml"))]
    whole = [text for text in found if len(text) < 900 and b"base:" not in text]  # a base would lie beside the file
    return [b"databases: [{name: mtfl}]\nphases: [{updates: 10}]\n", *whole]  # the first one must be accepted


def run_settings(data: bytes, path: Path) -> None:
    from acdc_fast.training.settings import read_settings

    path.write_bytes(data)
    read_settings(path)


def parquet() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures, out = images()[:4], []
    tables = [
        pa.table({"image": [{"bytes": p, "path": f"{i}.png"} for i, p in enumerate(pictures)]}),
        pa.table({"path": ["a.jpg", None, "b.jpg"]}), pa.table({"bytes": pa.array(pictures, pa.large_binary())}),
    ]  # fmt: skip
    for table in tables:
        for compression in ("snappy", "none"):
            file = io.BytesIO()
            pq.write_table(table, file, compression=compression)
            out.append(file.getvalue())
    return out


def run_parquet(data: bytes, path: Path) -> None:
    from acdc_fast.batch.sources import open_source
    from acdc_fast.photo.images import load_picture

    path.write_bytes(data)
    for count, image in enumerate(open_source([str(path)], None).after(0)):
        if count > 16:
            break
        if isinstance(image, bytes):
            try:
                load_picture(image, "a row")
            except InputError:
                continue


def tars() -> list[bytes]:
    header = ",".join(["image", *(f"{axis}{k}" for k in range(5) for axis in "xy"), "gender"])
    jpegs, out = images()[:2], []
    for layout in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=layout) as tar:
            table = "\n".join([header, *(f"f{i}.jpg,{','.join(str(3.5 + j) for j in range(10))},1" for i in (0, 1))])
            names = [("f0.jpg", jpegs[0]), ("f1.jpg", jpegs[1]), ("annotations.csv", table.encode())]
            for name, content in names:
                info = tarfile.TarInfo(name if layout == tarfile.USTAR_FORMAT else f"./{name}"[2:])
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        out.append(file.getvalue().rstrip(b"\0") + bytes(1024))
    return out


def run_tar(data: bytes, path: Path) -> None:
    from acdc_fast.training.data.packed_tar import open_packed

    path.write_bytes(data)
    faces = open_packed(path, "fuzzed", "train", "2d5", ["gender"])
    for i in range(min(len(faces), 4)):
        faces.picture(i)


def films() -> list[bytes]:
    import av

    out = []
    for codec, suffix in (("mpeg4", "mp4"), ("mjpeg", "avi"), ("mpeg4", "mkv")):
        file = io.BytesIO()
        with av.open(file, "w", format={"mkv": "matroska"}.get(suffix, suffix)) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(3):
                rgb = np.zeros((32, 32, 3), np.uint8)
                rgb[4:28, 4:28] = _picture(i)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            container.mux(stream.encode())
        out.append(file.getvalue())
    return out


def run_film(data: bytes, path: Path) -> None:
    from acdc_fast.video import films as video

    path.write_bytes(data)
    frames = video._Frames(video._av(), str(path))
    for count, (rgb, _, _) in enumerate(frames):
        if count > 12:
            break
        if rgb.ndim != 3 or rgb.dtype != np.uint8:
            raise AssertionError(f"a frame of shape {rgb.shape} and type {rgb.dtype}")


def _bindings_seeds() -> list[bytes]:
    return [bytes(range(i, i + 32)) for i in range(0, 224, 32)]


def run_bindings(data: bytes, path: Path) -> None:
    from bindings import call

    call(data)


TARGETS = {
    "images": Target(images, run_image, 1 << 14),
    "weights": Target(weights, run_weights, 1 << 20),
    "settings": Target(settings, run_settings, 1 << 13),
    "parquet": Target(parquet, run_parquet, 1 << 15),
    "tar": Target(tars, run_tar, 1 << 15),
    "film": Target(films, run_film, 1 << 15),
    "bindings": Target(_bindings_seeds, run_bindings, 64),
}
ALLOWED = AcdcError
