"""Native engine: the whole cascade is one call into C++ (csrc/cpu). numpy in and out, no torch in the process."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import check_crops, check_stages
from ..config import ACDCConfig
from ..errors import InputError
from ..native_library import load
from ..types import Prediction
from .common import POSE_SCALE, Arrays, check_dtype, folded_weights


class NativeEngine:
    """Runs one network on the CPU. Weights are folded and packed once, here. A call allocates only its results.

    Several Python threads may call one engine at once (the GIL is released). It works in forked children. Results are
    the same bits for any number of threads and any batches.
    """

    name = "native"
    takes_tensors = False

    def __init__(
        self,
        config: ACDCConfig,
        arrays: Arrays,
        threads: int | None = None,
        dtype: str = "float32",
        isa: str | None = None,
    ) -> None:
        """``arrays`` as in ``ACDC(config).state_dict()``. ``isa`` (or ``ACDC_ISA``) forces an instruction set.

        Raises `BackendUnavailable` if the library is not built, or cannot run ``dtype`` or ``isa``.
        """
        native = native_library()
        check_dtype(self.name, dtype, ("float32", "bfloat16"))
        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        self.config = config
        self._engine = native.Engine(
            width=config.width,
            stages=config.stages,
            stream_inputs=config.stream_channels,
            chain_maps=sum(config.points[name] for name in config.chain),
            solid_maps=sum(config.points[name] for name in config.solid),
            masked=list(config.masked_maps),
            pose=config.has_pose,
            excitation=config.has_excitation,
            weights=folded_weights(config, arrays),
            threads=threads or native.available_threads(),
            isa=isa or "",
            dtype=dtype,
            patch=config.patch,
        )

    def __call__(
        self,
        crops: np.ndarray,
        stages: int | None = None,
        all_stages: bool = False,
        mask: bool = True,
        enough: float = 0.0,
        markups: tuple[str, ...] | None = None,
    ) -> Prediction:
        """``crops`` (B, 1, S, S), float in [0, 1]. ``stages``: run the first ones only. ``mask=False``: no mask.
        ``enough`` > 0: a crop ends after the first stage whose maps have a mean spread of at most it. ``markups``: only
        these are computed and returned, where the cascade itself does not need more.

        Raises `InputError` for crops of another shape, and for NaN or infinity, with the number of the crop.
        """
        crops = np.asarray(crops)
        check_crops(crops.shape, crops.dtype.kind == "f", self.config.crop_unit)
        count = check_stages(stages, self.config.stages)
        points = self.config.points
        shown = tuple(name for name in points if markups is None or name in markups)
        asked = [] if len(shown) == len(points) else [name in shown for name, n in points.items() for _ in range(n)]
        result = self._engine.run(np.ascontiguousarray(crops, np.float32), count, all_stages, mask, enough, asked)
        kept = tuple(self._prediction(result, i, shown) for i in range(len(result["mean"])))
        last, depth = kept[-1], result["depth"] if enough else None
        return Prediction(last.landmarks, last.covariance, last.pose, last.mask, kept if all_stages else None, depth)

    def _prediction(self, result: dict[str, Any], stage: int, markups: tuple[str, ...]) -> Prediction:
        slices = {name: part for name, part in self.config.slices.items() if name in markups}
        return Prediction(
            {name: result["mean"][stage][:, part] for name, part in slices.items()},
            {name: result["covariance"][stage][:, part] for name, part in slices.items()},
            None if result["pose"] is None else result["pose"][stage] * POSE_SCALE,
            None if result["mask"] is None else result["mask"][stage],
        )

    def profile(self, crop: np.ndarray) -> list[tuple[str, float]]:
        """Seconds of each step on one crop (S, S): "0.encode1", "0.encode1/product" (over all threads), "moments", …"""
        return list(self._engine.profile(np.ascontiguousarray(crop, np.float32)))

    @property
    def isa(self) -> str:
        """Instruction set in use."""
        return str(self._engine.isa)

    @property
    def threads(self) -> int:
        return int(self._engine.threads)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes held: packed weights, and the arenas that runs have needed so far."""
        return {"weights": self._engine.weight_bytes, "arenas": self._engine.arena_bytes}


def native_library() -> Any:
    """`acdc_fast._native`. Raises `BackendUnavailable` with the reason if it cannot be used."""
    return load("backend 'native'", "another backend")
