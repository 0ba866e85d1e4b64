"""GPU engine: cuDNN convolutions, channels last, with batch norm folded. Between two U-Nets the one-pass kernels run.

They read an embedding twice: for the statistics of its maps, and on the way to the next stem. Logits, attention maps
and fused features are never stored. The kernels are Triton's, or those of csrc/cuda if there is no Triton. The whole
cascade is one CUDA graph for each batch size. For comparison with the eager network, the same code runs on CPU tensors:
Triton interprets its kernels (TRITON_INTERPRET=1), and an emulator runs the CUDA ones.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_stages
from ..config import ACDCConfig
from ..network import averaged
from ..readout.predictions import only
from ..types import Prediction
from . import gpu_kernels
from .common import CONVOLUTIONS, POSE_SCALE, check_dtype, folded_weights
from .torch_common import as_given, as_tensor, first_enough

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Number of captured graphs kept; the one unused for longest goes first. Each holds the activations of its batch.
GRAPHS = 8

Layer = tuple[Tensor, Tensor]  # weight and bias
Stage = tuple[Tensor | None, ...]  # mean, covariance, pose, mask


class Graph(NamedTuple):
    """A captured run: the tensor for its crops, the tensors that it fills, and a function that runs it again."""

    crops: Tensor
    stages: list[Stage]
    replay: Callable[[], None]


class GPUEngine:
    """Takes numpy arrays or torch tensors and returns the same kind, in float32. Threads may share one engine."""

    name = "gpu"
    takes_tensors = True

    def __init__(
        self,
        config: ACDCConfig,
        arrays: dict[str, np.ndarray],
        threads: int | None = None,
        dtype: str = "float16",
        device: str = "cuda",
        kernels: str = "auto",
    ) -> None:
        """``arrays`` as in ``ACDC(config).state_dict()``. ``threads`` is ignored. ``kernels``: "triton", "cuda", or
        "auto" for the first of them that can run.

        Raises `BackendUnavailable` without a GPU, without kernels, or for a ``dtype`` that they lack.
        """
        check_dtype(self.name, dtype, DTYPES)
        self.config, self.device, self.dtype = config, torch.device(device), DTYPES[dtype]
        #: The kernels between two U-Nets: "triton" or "cuda".
        self.kernels = gpu_kernels.choose(kernels, self.device.type, self.dtype)
        self._kernels = self._load(folded_weights(config, arrays))
        self._graphs: OrderedDict[tuple[Any, ...], Graph] = OrderedDict()
        self._lock = threading.Lock()
        #: Why runs are not captured in a CUDA graph. None: they are.
        self.ungraphed = None if self.device.type == "cuda" else "CUDA graphs need a GPU"

    def _load(self, weights: dict[str, np.ndarray]) -> gpu_kernels.GPUKernels:
        """Moves convolutions to the device in the engine's dtype, and all small layers in float32."""

        def small(name: str) -> Tensor:
            return torch.from_numpy(weights[name]).to(self.device, torch.float32)

        def layer(name: str) -> Layer:
            weight, bias = (small(f"{name}.{part}").to(self.dtype) for part in ("weight", "bias"))
            return weight.to(memory_format=torch.channels_last), bias

        config, stages = self.config, range(self.config.stages)
        self._unets = [{name: layer(f"{i}.{name}") for name in CONVOLUTIONS} for i in stages]
        self._first = layer("0.stem")
        self._pose = (small("pose.weight"), small("pose.bias")) if config.has_pose else None
        given = range(config.stages - 1) if config.has_excitation else ()
        self._excite = [(small(f"{i}.excite.weight"), small(f"{i}.excite.bias")) for i in given]
        depthwise = torch.stack([small(name) for name in sorted(weights) if name.startswith("depthwise.")])
        split, fused = sum(config.points[name] for name in config.chain), config.fusion_channels
        stems = [(small(f"{i}.stem.weight").flatten(1), small(f"{i}.stem.bias")) for i in stages]
        stems[0] = stems[0][0].new_empty(config.width, fused), stems[0][1]  # never used: the first stem takes crops
        small_layers = gpu_kernels.Weights(depthwise, small("transfer"), split, tuple(config.masked_maps), stems)
        return gpu_kernels.make(self.kernels, small_layers, self.dtype)

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
        every = all_stages or enough > 0
        count = check_stages(stages, self.config.stages)
        x, given_on = as_tensor(crops, self.config.crop_unit)
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False)
        with self._lock, exact:
            outputs = self._run(x, count, every, mask) if len(x) else self._nothing(x, count, mask)
        kept = tuple(self._prediction(stage) for stage in outputs)
        last = kept[-1]
        prediction = Prediction(last.landmarks, last.covariance, last.pose, last.mask, kept if every else None)
        if enough:
            prediction = first_enough(prediction, enough)
        return as_given(prediction if markups is None else only(prediction, markups), given_on, mask)

    def _run(self, crops: Tensor, count: int, every: bool, mask: bool) -> list[Stage]:
        """Mean, covariance, pose and mask of each stage, replayed from a graph if one can be captured."""
        if self.ungraphed is None:
            key = (*crops.shape, count, every, mask)
            graph = self._graphs.pop(key, None)
            try:
                graph = graph or self._capture(crops.shape, count, every, mask)
            except RuntimeError as error:
                self.ungraphed = f"the CUDA graph could not be captured ({error})"
                warnings.warn(f"backend 'gpu' runs without a CUDA graph, slower: {error}", RuntimeWarning, stacklevel=4)
            else:
                self._graphs[key] = graph
                while len(self._graphs) > GRAPHS:
                    self._graphs.popitem(last=False)
                graph.crops.copy_(crops)
                graph.replay()
                return [tuple(t if t is None else t.clone() for t in stage) for stage in graph.stages]
        return self._cascade(crops.to(self.device, self.dtype), count, every, mask)

    def _capture(self, shape: torch.Size, count: int, every: bool, mask: bool) -> Graph:
        """Captures a graph. Runs first on a side stream: kernels compile and cuDNN chooses outside the graph."""
        crops = torch.zeros(shape, dtype=self.dtype, device=self.device)
        with torch.cuda.device(self.device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._cascade(crops, count, every, mask)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                stages = self._cascade(crops, count, every, mask)
        return Graph(crops, stages, graph.replay)

    def _cascade(self, crops: Tensor, count: int, every: bool, mask: bool) -> list[Stage]:
        x = F.conv2d(crops, *self._first, stride=self.config.patch).contiguous(memory_format=torch.channels_last)
        image = averaged(crops, self.config.patch)
        out: list[Stage] = []
        for i in range(count):
            embedding = self._unet(x, self._unets[i])
            mean, covariance, high, low = self._kernels.statistics(embedding)
            pose = self._head_pose(mean)
            last, shown = i + 1 == count, None
            if not last:
                excitation = self._excitation(i, pose, len(x))
                x, shown = self._kernels.transition(embedding, high, low, image, excitation, i + 1, every and mask)
            elif mask:
                shown = self._kernels.mask(embedding, high, low)
            if last or every:
                out.append((mean, covariance, pose, shown))
        return out

    def _nothing(self, crops: Tensor, count: int, mask: bool) -> list[Stage]:
        """The results for a batch of no crops."""
        maps, side = self.config.maps, crops.shape[-1] // self.config.patch
        shapes = ((maps, 2), (maps, 3), (3,) if self._pose else None, (1, side, side) if mask else None)
        return [tuple(None if s is None else torch.empty(0, *s, device=self.device) for s in shapes)] * count

    def _unet(self, x: Tensor, layers: dict[str, Layer]) -> Tensor:
        def conv(name: str, x: Tensor) -> Tensor:
            return _conv_relu(x, *layers[name], 2 if name.startswith("down") else 1)

        skip1 = conv("encode1", x)
        skip2 = conv("encode2", conv("down1", skip1))
        skip3 = conv("encode3", conv("down2", skip2))
        x = conv("decode3", conv("up3", _double(conv("down3", skip3))).add_(skip3))
        x = conv("decode2", conv("up2", _double(x)).add_(skip2))
        return conv("decode1", conv("up1", _double(x)).add_(skip1))

    def _head_pose(self, mean: Tensor) -> Tensor | None:
        if self._pose is None:
            return None
        return F.linear(mean[:, self.config.slices[self.config.solid[0]]].flatten(1), *self._pose)

    def _excitation(self, stage: int, pose: Tensor | None, batch: int) -> Tensor:
        """f_i(Ω_i), eq. 6, (B, 2 + 2C). Ones if the variant has no excitation."""
        if pose is None or not self._excite:
            return torch.ones(batch, self.config.fusion_channels, device=self.device)
        return torch.sigmoid(F.linear(pose, *self._excite[stage]))

    def _prediction(self, stage: Stage) -> Prediction:
        mean, covariance, pose, mask = stage
        assert mean is not None and covariance is not None
        slices = self.config.slices
        return Prediction(
            {name: mean[:, part] for name, part in slices.items()},
            {name: covariance[:, part] for name, part in slices.items()},
            None if pose is None else pose * float(POSE_SCALE),
            mask,
        )


def _conv_relu(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """3×3 convolution, bias and ReLU: one kernel if cuDNN has it."""
    if x.is_cuda and torch.version.hip is None and torch.backends.cudnn.enabled:
        return torch.cudnn_convolution_relu(x, weight, bias, (stride, stride), (1, 1), (1, 1), 1)
    return F.conv2d(x, weight, bias, stride, padding=1).relu_()


def _double(x: Tensor) -> Tensor:
    """Bilinear ×2 with half-pixel centres."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
