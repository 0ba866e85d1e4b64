"""Layers of the detector: one list for the torch network, the weights and the C++ engine.

The picture is grey, (value − 128) / 128. Every layer pads with zeros. Stride two halves a side and rounds up.

    stem      3×3, stride 2, 1 → 16
    backbone  blocks of a 3×3 depthwise and a 1×1 convolution, each with ReLU; strides 4, 8, 16, 32
    neck      a 1×1 convolution of the coarser level, at twice its size (nearest), is added to the finer; then a block
    heads     a 1×1 convolution at strides 8, 16, 32 gives five numbers: score, dx, dy, log width, log height

Cell (i, j) of a level of stride s gives one box in pixels: centre ((j + dx)·s, (i + dy)·s), width s·exp(log width),
height s·exp(log height). The layers follow the ideas of YuNet (Wu, Peng, Yu, MIR 2023) and FCOS (Tian et al., ICCV
2019).
"""

from __future__ import annotations

#: Channels of the stem.
STEM = 16
#: (in, out, stride) of the backbone's blocks.
BACKBONE = (
    (16, 32, 2), (32, 32, 1),  # stride 4
    (32, 48, 2), (48, 48, 1),  # stride 8
    (48, 96, 2), (96, 96, 1), (96, 96, 1),  # stride 16
    (96, 160, 2), (160, 160, 1), (160, 160, 1),  # stride 32
)  # fmt: skip
#: For each level, the finest first: the index of the backbone block that it follows, and its stride.
LEVELS = ((3, 8), (6, 16), (9, 32))
#: Score, dx, dy, log width, log height.
OUTPUTS = 5
