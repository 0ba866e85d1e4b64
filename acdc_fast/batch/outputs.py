"""A job's output: parquet, JSON lines or CSV, by the suffix of its name; and what job an output is of.

Parquet carries what it was made with in its own metadata; beside the other two lies OUT-metadata.json, which holds the
output's SHA-256, so that it counts only with the file that it was written for.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..files import check_place
from ..markups import MARKUPS
from ..readout.blendshapes import told
from ..readout.results import as_dict
from .needs import pyarrow
from .parts import KEY, Part, Parts
from .rows import ANGLES, faces_of, schema_of, sighted

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
#: Images in a row group, whatever the parts hold: the same job gives the same bytes however often it was cut off.
GROUP = 256

Summary = dict[str, Any]


def format_of(out: Path) -> str:
    """Raises `InputError` where the name asks for something else."""
    check_place(out)
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out}: the output is parquet, JSON lines or CSV: let its name end in {', '.join(FORMATS)}")
    return FORMATS[out.suffix.lower()]


def beside(out: Path) -> Path:
    """Where the facts about a CSV or JSON lines file lie."""
    return out.with_name(f"{out.name}-metadata.json")


def summary_of(out: Path) -> Summary:
    """The summary that an output holds: job, images, faces, broken. Empty if it holds none."""
    _, pq = pyarrow()
    try:
        if format_of(out) == "parquet":
            summary = json.loads((pq.read_schema(out).metadata or {})[KEY])
        else:
            summary = json.loads(beside(out).read_bytes())
            with open(out, "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(1 << 20):
                    digest.update(block)
            if summary["sha256"] != digest.hexdigest():
                return {}
        return summary if isinstance(summary, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are of the first two kinds
        return {}


def join(parts: Parts, out: Path, markups: tuple[str, ...]) -> Summary:
    """Writes the output of all parts; its renaming is the one moment at which it is there."""
    done = parts.done
    summary: Summary = {"job": parts.job, "images": parts.images, "faces": parts.faces, "broken": parts.broken}
    kind, name = format_of(out), f"joined{out.suffix}"
    placed = "camera" in parts.job
    if kind == "parquet":
        parts.write(name, lambda file: _parquet(file, done, markups, summary, placed), out)
        return summary
    text = _json_lines if kind == "jsonl" else _csv
    digest = hashlib.sha256()

    def fill(file: IO[bytes]) -> None:
        for piece in text(done, markups, placed):
            digest.update(piece)
            file.write(piece)
        # Facts that come before their file do no harm, for they name its digest.
        facts = json.dumps({**summary, "sha256": digest.hexdigest()}, indent=1)
        parts.write("metadata.json", lambda other: other.write(facts.encode()), beside(out))

    parts.write(name, fill, out)
    return summary


def _parquet(file: IO[bytes], parts: Sequence[Part], markups: tuple[str, ...], summary: Summary, placed: bool) -> None:
    pa, pq = pyarrow()
    with pq.ParquetWriter(file, schema_of(pa, markups, placed).with_metadata({KEY: json.dumps(summary)})) as writer:
        rest = None
        for part in parts:
            table = pq.read_table(part.path).replace_schema_metadata(writer.schema.metadata)
            rest = table if rest is None else pa.concat_tables([rest, table])
            while rest.num_rows >= GROUP:
                writer.write_table(rest.slice(0, GROUP).combine_chunks())
                rest = rest.slice(GROUP)
        if rest is not None and rest.num_rows:
            writer.write_table(rest.combine_chunks())


def _entries(parts: Sequence[Part], markups: tuple[str, ...]) -> Iterator[Summary]:
    """One an image, as `align --json` prints them."""
    _, pq = pyarrow()
    for part in parts:
        for row in pq.read_table(part.path).to_pylist():
            if row["error"] is not None:
                yield {"image": row["image"], "error": row["error"]}
            else:
                faces = as_dict(faces_of(row, markups))
                yield {"image": row["image"], "width": row["width"], "height": row["height"], "faces": faces}


def _json_lines(parts: Sequence[Part], markups: tuple[str, ...], placed: bool) -> Iterator[bytes]:
    for entry in _entries(parts, markups):
        yield json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def _csv(parts: Sequence[Part], markups: tuple[str, ...], placed: bool) -> Iterator[bytes]:
    """A header, then one line a face; an image without a face has one with nothing about faces."""
    head = ["image", "width", "height", "error", "face", "x0", "y0", "x1", "y1", "score", *ANGLES]
    head += [f"translation_{axis}" for axis in "xyz"] if placed else []
    for markup in markups:
        numbers = range(MARKUPS[markup].points)
        head += [f"{markup}_{i}_{axis}" for i in numbers for axis in "xy"]
        head += [f"{markup}_{i}_{kind}" for kind in ("spread", "confidence") for i in numbers]
        head += [f"{markup}_{i}_visible" for i in numbers if sighted((markup,))]
    head += [f"blendshape_{name}" for name in told()]
    yield _line(head)
    for entry in _entries(parts, markups):
        start = [entry["image"], entry.get("width"), entry.get("height"), entry.get("error")]
        for i, face in enumerate(entry.get("faces", ())):
            pose = face["pose"] or {}
            line = [*start, i, *face["box"], face["score"], *(pose.get(angle) for angle in ANGLES)]
            line += pose.get("translation", [None] * 3) if placed else []
            for markup in markups:
                line += [value for point in face["landmarks"][markup] for value in point]
                line += [*face["spread"][markup], *face["confidence"][markup]]
                if sighted((markup,)):
                    line += face["visible"].get(markup, [None] * MARKUPS[markup].points)
            yield _line([*line, *(face["blendshapes"].get(name) for name in told())])
        if not entry.get("faces"):
            yield _line([*start, *[None] * (len(head) - 4)])


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
