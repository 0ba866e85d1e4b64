"""Makes the page as a folder that any web server can hand out: `python examples/web/make_page.py [OUT]`.

Needs `npm install` in this folder for ONNX Runtime, and `pip install 'acdc-fast[onnx]'` for the networks.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import acdc_fast
from acdc_fast.export.detector import export_detector
from acdc_fast.export.facts import facts
from acdc_fast.export.recipes import detector_recipe

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
#: For a CPU, and for a GPU by WebGPU.
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
         "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs",
         "ort-wasm-simd-threaded.asyncify.wasm")  # fmt: skip


def make_page(out: Path, weights: str, runtime: Path = RUNTIME) -> None:
    missing = [name for name in FILES if not (runtime / name).is_file()]
    if missing:
        raise SystemExit(f"{runtime} has no {missing[0]}: run `npm install` in {HERE} first")
    (out / "ort").mkdir(parents=True, exist_ok=True)
    (out / "models").mkdir(exist_ok=True)
    for path in [*HERE.glob("*.js"), HERE / "index.html", HERE / "style.css"]:
        shutil.copy(path, out)
    shutil.copy(HERE.parent / "astronaut.jpg", out / "example.jpg")
    for name in FILES:
        shutil.copy(runtime / name, out / "ort")
    export_detector(out / "models" / "detector.onnx")
    model = acdc_fast.Model.from_pretrained(weights)
    model.export_onnx(out / "models" / "landmarks.onnx")
    # ONNX Runtime hands a page no metadata, so they lie beside the files.
    told = facts(model.weights, weights, model.resolution, model.weights.config.stages)
    landmarks = {key: json.loads(value) if value.startswith("{") else value for key, value in told.items()}
    everything = {"detector": detector_recipe(), "landmarks": landmarks}
    (out / "models" / "models.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("out/web"), help="folder of the page (%(default)s)")
    parser.add_argument("--weights", default="acdc-w16-phone", help="a pretrained name (%(default)s)")
    options = parser.parse_args()
    make_page(options.out, options.weights)
    print(f"{options.out} is the page; `python {Path(__file__).parent / 'serve.py'} {options.out}` hands it out")
