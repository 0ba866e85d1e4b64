"""Model: from a photograph to aligned faces, and the drop-in for the network itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from .alignment import Alignment, FaceReadout, Reader
from .alignment.reader import CROPS
from .arrays_or_tensors import as_given, blank, check_given, for_engine
from .bundled import DEFAULT, bundled_path
from .checks import check_finite, check_stages
from .config import ACDCConfig
from .detector.tiles import cpus
from .engines import make_engine
from .engines.slices import run_in_slices
from .errors import InputError
from .metadata import number_of, resolution_of
from .options import MOST_THREADS, as_search, check_count, check_markups, check_resolution, check_switch, enough_spread
from .options import ModelOptions as ModelOptions
from .photo.camera import Camera
from .photo.detection import Search, SearchOptions
from .photo.finding import find_each
from .photo.images import ImageLike
from .photo.prefetch import Pause
from .readout import head_shape
from .readout.confidence import UNCALIBRATED, of_points
from .readout.predictions import finite, mapped
from .readout.presence import USUAL_LIMIT
from .readout.second_look import limits_of
from .types import Faces, Prediction
from .weights import Weights, save_weights, weights_of

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of type checkers; it need not be installed

    from .network import ACDC

log = logging.getLogger(__name__)


class Model:
    """One network on the engine that serves it best. Any number of threads may call it."""

    def __init__(
        self,
        source: str | os.PathLike[str] | ACDC | Weights,
        backend: str = "auto",
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
        stages: int | Literal["auto"] | None = None,
        resolution: int | None = None,
        max_batch: int | None = None,
        markups: Sequence[str] | None = None,
        mirror: bool = False,
    ) -> None:
        """``source``: a weights file, an `ACDC` module (copied: later training does not change the model) or `Weights`.

        ``backend`` "auto", "native" (C++ on the CPU), "eager" (torch) or "gpu"; ``device`` "auto", "cpu", "cuda" or
        "cuda:N"; ``dtype`` "float32", "bfloat16" (natively on a CPU with AVX512-BF16, else by torch) or, on a GPU,
        "float16"; ``stages`` runs only the first ones, "auto" ends each crop at the first stage whose maps are narrow
        enough by the weights' card (the native engine then skips the rest); ``resolution``: side of the crops that
        `align` cuts, None for that which the weights were trained at (128 where their card does not say); ``threads``:
        of the CPU, None for as many as the process may use; ``max_batch``: crops that the engine gets at a time, which
        bounds memory (None: 32 in `align`, as many as are given in a call of the model); ``markups``: only these are
        handed out (None: all of the weights). A call of the model with crops then takes less time, `align` does not:
        it corrects each point by the points of every markup; ``mirror``: `align` takes the mean of each crop's answer
        and its mirror image's, for twice the network's time and about 2 % less error.
        Raises `InputError` for arguments that cannot be, `BackendUnavailable` where the backend asked for cannot serve.
        """
        self.weights = weights_of(source)
        #: Name of the weights inside the package, or of their file; "" where they came from memory.
        self.name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
        self._options = {"backend": backend, "device": device, "dtype": dtype, "threads": threads, "stages": stages,
                         "resolution": resolution, "max_batch": max_batch, "markups": markups,
                         "mirror": mirror}  # fmt: skip
        self._bundled = False
        self.enough = enough_spread(self.weights.card) if stages == "auto" else 0.0
        #: Median of faces' narrowest spread, crop units; infinite, so that no face is turned, where it is not known.
        self.usual_spread = number_of(self.weights.card, "narrowest_spread", "weights") or np.inf
        self._presence_limit = number_of(self.weights.card, "presence", "weights") or USUAL_LIMIT
        self._limits = limits_of(self.weights.card, "weights")
        #: (3, L) of all maps.
        self.calibration = np.concatenate(
            [of_points(self.weights.calibration.get(m, UNCALIBRATED), n) for m, n in self.config.points.items()], 1
        )
        #: Markups that the model hands out.
        self.markups = check_markups(markups, self.weights.handed_out)
        self.stages = check_stages(None if stages == "auto" else stages, self.config.stages)
        self.mirror = check_switch("mirror", mirror)
        check_count("threads", threads, MOST_THREADS)
        check_count("max_batch", max_batch)
        own = resolution_of(self.weights.card, "weights", self.config.crop_unit)
        self.resolution = check_resolution(own if resolution is None else resolution, unit=self.config.crop_unit)
        #: Whether `align` leaves out boxes that the maps deny (`readout.presence.DENIED`). At other resolutions than
        #: that of the training maps are wide for reasons of their own.
        self._denies = self.resolution == own
        self.dtype, self._threads, self.max_batch = dtype, threads, max_batch
        self.engine = make_engine(backend, self.config, self.weights.arrays, threads, dtype, device)
        log.debug("%r on %s", self, self.device)

    @classmethod
    def from_pretrained(cls, name: str = DEFAULT, **options: Unpack[ModelOptions]) -> Model:
        """The weights of this name inside the package; ``options`` as for `Model`. Never reads the network."""
        model = cls(bundled_path(name), **options)
        model.name, model._bundled = name, True
        return model

    def __repr__(self) -> str:
        c = self.config
        size = f"width {c.width}, {self.stages} of {c.stages} stages, crops of {self.resolution}²"
        return f"<acdc_fast.Model {self.name or '(own weights)'}: {size}, {self.dtype}, backend {self.backend}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the weights (those of the package by their name) and the options. Unpickling makes a new engine."""
        return _unpickled, (self.name, None if self._bundled else self.weights, self._options)

    @property
    def config(self) -> ACDCConfig:
        return self.weights.config

    @property
    def reader(self) -> Reader:
        """What `align` reads squares of pictures with."""
        return self._reader(partial(self._run, mask=False), None)

    def _reader(self, run: Callable[[np.ndarray], Prediction], camera: Camera | None) -> Reader:
        whole = self.stages == self.config.stages and not self.enough  # maps of early stages are wider
        upright, batch = self.weights.upright if whole else None, self.max_batch or CROPS
        usual, limits = self.usual_spread, self._limits
        return Reader(self.weights, run, self.resolution, usual, batch, limits, camera, upright, self.mirror)

    @property
    def device(self) -> str:
        """Where the engine computes: "cpu", "cuda:0", …"""
        return str(getattr(self.engine, "device", "cpu"))

    @property
    def chosen_threads(self) -> bool:
        """Whether the caller said how many threads."""
        return self._options["threads"] is not None

    @property
    def threads(self) -> int:
        """Threads that a call may use."""
        return self._threads or cpus()

    @property
    def backend(self) -> str:
        """Name of the engine in use."""
        return self.engine.name

    @property
    def options(self) -> dict[str, Any]:
        """What results depend on beside the weights and the machine."""
        return {
            "backend": self.backend, "device": self.device, "dtype": self.dtype,
            "stages": self.stages, "enough": self.enough, "resolution": self.resolution, "markups": list(self.markups),
            "mirror": self.mirror,
        }  # fmt: skip

    def __call__(self, crops: Any, all_stages: bool = False) -> Prediction:
        """(B, 1, S, S) float in [0, 1], numpy or torch → `Prediction` of the same kind. S: a multiple of 8 from 32,
        times the config's ``patch``.

        Tensors come back on the device they came from; no gradients. Raises `InputError` for other crops.
        """
        check_given(crops, self.config.crop_unit)
        prediction = self._run(for_engine(crops, self.engine), all_stages, markups=self.markups)
        prediction = mapped(prediction, lambda array: as_given(array, crops))
        check_finite(finite(prediction))
        return prediction

    def _run(
        self, crops: Any, all_stages: bool = False, mask: bool = True, markups: tuple[str, ...] | None = None
    ) -> Prediction:
        if not len(crops):  # an engine need not know what to do with no crops
            one = blank(crops)
            return mapped(self._run(one, all_stages, mask, markups), lambda values: values[:0])
        if self.enough and all_stages:
            raise InputError("a model with stages='auto' ends early and cannot give all: make one with stages=None")
        with np.errstate(all="ignore"):  # `check_finite` names results that are not finite
            options = {"stages": self.stages, "all_stages": all_stages, "mask": mask, "enough": self.enough}
            return run_in_slices(self.engine, crops, self.max_batch, markups=markups, **options)

    @overload
    def detect(
        self, image: list[ImageLike], **search: Unpack[SearchOptions]
    ) -> list[tuple[np.ndarray, np.ndarray]]: ...
    @overload
    def detect(self, image: ImageLike, **search: Unpack[SearchOptions]) -> tuple[np.ndarray, np.ndarray]: ...
    def detect(self, image: Any, **search: Unpack[SearchOptions]) -> Any:
        """Boxes (N, 4) float32 xyxy pixels and scores (N,) float32 of one image, largest face first, or a list of such
        pairs for a list of images; images as for `align`.

        ``search``: ``detector``, "both" (the package's network proposes, libfacedetection verifies), "own" (the
        network alone), "library" (libfacedetection alone) or a function: (H, W, 3) uint8 RGB → boxes (N, 4), scores
        (N,) in [0, 1]; ``min_score``, boxes below it are dropped (None: below 0.7, "library" 0.4, "own" 0.8, or
        0.65 where none is better, a function: none); ``max_faces``, of more than these the smaller ones are dropped;
        ``min_size``, side √(w·h) in pixels of the smallest face wanted (None: what is found in the picture at no more
        than 2048 pixels; a small one costs time in larger pictures, see `photo.detection`); ``overlap``, intersection
        over union above which two boxes are one face, 0.5.
        Raises `InputError` for an image or a setting that cannot be used.
        """
        wanted = as_search(search)
        listed = isinstance(image, (list, tuple))
        boxes = []
        for found in find_each(list(image) if listed else [image], None, wanted, self.threads):
            if isinstance(found, InputError):
                raise found
            boxes.append((found.boxes, found.scores))
        return boxes if listed else boxes[0]

    @overload
    def align(
        self, image: list[ImageLike], boxes: Any = None, camera: Camera | None = None, **search: Unpack[SearchOptions]
    ) -> list[Faces]: ...
    @overload
    def align(
        self,
        image: Iterator[ImageLike],
        boxes: Any = None,
        camera: Camera | None = None,
        **search: Unpack[SearchOptions],
    ) -> Iterator[Faces]: ...
    @overload
    def align(
        self, image: ImageLike, boxes: Any = None, camera: Camera | None = None, **search: Unpack[SearchOptions]
    ) -> Faces: ...
    def align(
        self, image: Any, boxes: Any = None, camera: Camera | None = None, **search: Unpack[SearchOptions]
    ) -> Faces | list[Faces] | Iterator[Faces]:
        """Faces of one image, largest first; for a list of images a list of `Faces`; for a generator an iterator.

        ``image``: path, H×W, H×W×3 (RGB) or H×W×4 uint8 array, PIL image, bytes or an open file of an image; EXIF
        rotation is applied first, and the results are in pixels of the upright image. ``boxes`` (N, 4) xyxy pixels (for
        several images: one such array, or None, for each) keeps the detector out. ``camera``: the pose then is that to
        this camera, with a translation; without one it is that of the crop, seen straight on. ``search``: what the
        detector looks for, as in `detect`. A score is the detector's, or 1, times the chance by the maps that a face is
        there (`readout.presence`). Of what the detector found, no face is given with a score below ``min_score``, or,
        if it is None, with a chance below 0.01; 0 gives all. Of your own boxes all are given. Of several images the
        next are read and searched while those before are aligned.
        Raises `InputError` for an image or boxes that cannot be used; it names the file.
        """
        wanted = as_search(search)
        self._check_camera(camera)
        if isinstance(image, Iterator) and not hasattr(image, "read"):  # an open file gives its lines
            return self._align(image, boxes, wanted, camera)
        if not isinstance(image, (list, tuple)):
            return next(self._align([image], None if boxes is None else [boxes], wanted, camera))
        if boxes is not None and not hasattr(boxes, "__len__"):
            raise InputError(f"boxes for a list of images are a list too, not {type(boxes).__name__}")
        if boxes is not None and len(boxes) != len(image):
            raise InputError(f"boxes for {len(boxes)} images were given with {len(image)} images")
        return list(self._align(image, boxes, wanted, camera))

    def _check_camera(self, camera: Any) -> None:
        if camera is not None and not isinstance(camera, Camera):
            raise InputError(f"camera must be an acdc_fast.Camera, not {type(camera).__name__}")
        if camera is not None and (not self.config.has_pose or self.config.solid != (head_shape.MARKUP,)):
            raise InputError(f"a camera needs weights with a head pose and the markup {head_shape.MARKUP}")

    def _align(
        self, images: Iterable[ImageLike], boxes: Iterable[Any] | None, search: Search, camera: Camera | None
    ) -> Iterator[Faces]:
        for faces in self._each(images, boxes, search, camera):
            if isinstance(faces, InputError):
                raise faces
            yield faces

    def align_each(
        self, images: Iterable[ImageLike], camera: Camera | None = None, **search: Unpack[SearchOptions]
    ) -> Iterator[Faces | InputError]:
        """For each image its `Faces`, or the `InputError` that says why it has none; in order, a few at a time.

        ``images``: of any number, as `align` takes them; ``camera``: as in `align`; ``search``: as in `detect`. The
        next images are read and searched while those before are aligned. Raises `InputError` at once for a setting that
        cannot be used.
        """
        self._check_camera(camera)
        return self._each(images, None, as_search(search), camera)

    def _each(
        self, images: Iterable[ImageLike], boxes: Iterable[Any] | None, search: Search, camera: Camera | None = None
    ) -> Iterator[Faces | InputError]:
        least = search.min_score if search.min_score is not None or self._denies else 0.0
        pause, run = Pause(), partial(self._run, mask=False)
        reader = self._reader(partial(self._alone, pause, run) if self.device == "cpu" else run, camera)
        usual = self.usual_spread, self._presence_limit
        readout = FaceReadout(self.weights, *usual, self.calibration, self.markups, camera, least)
        found = find_each(images, boxes, replace(search, max_faces=None), self.threads, pause)
        return Alignment(reader, readout, search.max_faces).each(found)

    def _alone(self, pause: Pause, run: Callable[[np.ndarray], Prediction], crops: np.ndarray) -> Prediction:
        """The network; no further picture is searched meanwhile if the crops keep all threads busy. The searches then
        fill the time in which Python cuts crops and reads out points, which one CPU does."""
        with pause.held() if len(crops) >= self.threads else nullcontext():
            return run(crops)

    def track(
        self,
        frames: Iterable[ImageLike],
        smooth: bool = True,
        every: int = 10,
        absent: int = 25,
        camera: Camera | None = None,
        **search: Unpack[SearchOptions],
    ) -> Iterator[Faces]:
        """Faces of each frame of one film, in order, with ``ids``: numbers that stay with a face.

        ``frames``: pictures as `align` takes them, RGB, of a list, a generator or a camera. ``smooth`` steadies points,
        blendshapes and pose from frame to frame, and does not believe a frame whose points the picture denies; False
        gives each frame's own, for exact results. ``every``: the detector runs on each such frame, and in doubt.
        ``absent``: frames for which a face that is not seen keeps its number. A score is the chance, by the maps of the
        frame, that the face is there. A face that is gone ends within three frames, a cut ends all. ``camera``: as in
        `align`. ``search``: as in `detect`; no new face begins while ``max_faces`` are followed.
        Raises `InputError` for a frame that cannot be used, and for settings that cannot be.
        """
        from .video.tracking import follow

        self._check_camera(camera)
        return follow(self, frames, smooth, every, absent, as_search(search), camera)

    def warmup(self, batch: int = 1) -> None:
        """Runs once on blank crops, so that the first real call does not pay for compiling and allocating."""
        self._run(np.zeros((batch, 1, self.resolution, self.resolution), np.float32), mask=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a weights file that `Model` reads: written beside and renamed."""
        save_weights(path, self.weights)

    def network(self) -> ACDC:
        """A `torch.nn.Module` of its own with these weights and stages, in eval mode: for gradients and for training of
        one's own. It gives the maps' own means, as a call of the model does. Needs torch, else `BackendUnavailable`."""
        from .export import network_of

        return network_of(self.weights, self.stages)

    def export_onnx(self, path: str | os.PathLike[str], batch: int | str = "dynamic") -> list[str]:
        """ONNX that gives for crops what `align` makes of them, at this model's resolution and stages; gives the names
        of its outputs. See `export.export_onnx`. Needs torch and onnx."""
        from .export import export_onnx

        return export_onnx(self.weights, path, batch, self.stages, self.resolution, self.name)

    def export_program(self, path: str | os.PathLike[str], batch: int | str = "dynamic") -> list[str]:
        """The same for `torch.export.load`. Needs torch."""
        from .export import export_program

        return export_program(self.weights, path, batch, self.stages, self.resolution, self.name)


def _unpickled(name: str, weights: Weights | None, options: ModelOptions) -> Model:
    if weights is None:
        return Model.from_pretrained(name, **options)
    model = Model(weights, **options)
    model.name = name
    return model
