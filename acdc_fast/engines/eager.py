"""Eager engine: torch runs the network of `network.py`. The plainest engine, and the truth for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..checks import check_stages
from ..config import ACDCConfig
from ..errors import BackendUnavailable
from ..network import ACDC
from ..readout.predictions import only
from ..types import Prediction
from .common import check_dtype
from .torch_common import as_given, as_tensor, first_enough


class EagerEngine:
    """Runs its own `ACDC`. Takes numpy arrays or torch tensors and returns the same kind, in float32."""

    name = "eager"
    takes_tensors = True

    def __init__(
        self,
        config: ACDCConfig,
        arrays: dict[str, np.ndarray],
        threads: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendUnavailable("backend 'eager' on a GPU: torch sees no GPU; use device='cpu'")
        known = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
        check_dtype(self.name, dtype, known)
        self.config, self.device, self.threads = config, torch.device(device), threads
        # bfloat16 is autocast: the convolutions run in it, softmax and moments stay in float32.
        self.autocast = known[dtype] == torch.bfloat16
        self.dtype = torch.float32 if self.autocast else known[dtype]
        self.networks = {config.stages: ACDC.holding(config, arrays).to(self.device, self.dtype)}

    @torch.inference_mode()
    def __call__(
        self,
        crops: Any,
        stages: int | None = None,
        all_stages: bool = False,
        mask: bool = True,
        enough: float = 0.0,
        markups: tuple[str, ...] | None = None,
    ) -> Prediction:
        """``crops`` (B, 1, S, S), float in [0, 1]. ``stages``: run the first ones only. ``mask=False``: no mask.
        ``enough`` > 0: each crop's result is that of the first stage whose maps have a mean spread of at most it. All
        stages are run here. ``markups``: only these are returned; all are computed. Raises `InputError`."""
        network = self._first(check_stages(stages, self.config.stages))
        x, given_on = as_tensor(crops, self.config.crop_unit)
        with _threads(self.threads), torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            prediction = network(x.to(self.device, self.dtype), all_stages=all_stages or enough > 0)
        if enough:
            prediction = first_enough(prediction, enough)
        return as_given(prediction if markups is None else only(prediction, markups), given_on, mask)

    def _first(self, stages: int) -> ACDC:
        """The network cut after its first stages. It shares its parts with the whole one."""
        if stages not in self.networks:
            whole = self.networks[self.config.stages]
            cut = ACDC(replace(self.config, stages=stages))
            cut.unets, cut.gtn, cut.excite = whole.unets[:stages], whole.gtn, whole.excite[: stages - 1]
            self.networks[stages] = cut.eval()
        return self.networks[stages]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch's number of threads holds for the whole process, so it is restored."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
