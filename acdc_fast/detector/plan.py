"""Layers of the detector, in one place for the torch network, its weights and the C++ engine.

The picture is grey, (value − 128) / 128. Every layer pads with zeros, a stride of two gives half the side, rounded up.

    stem      3×3, stride 2, 1 → 16
    backbone  blocks of a 3×3 depthwise and a 1×1 convolution, each with ReLU; strides 4, 8, 16, 32
    neck      the coarser level by a 1×1 convolution, doubled (nearest) and added to the finer one; then a block
    heads     at strides 8, 16, 32 a 1×1 convolution to five numbers: score, dx, dy, log width, log height

A cell (i, j) of a level of stride s says: centre ((j + dx)·s, (i + dy)·s) in pixels, width s·exp(log width), height
likewise. The layers are those of YuNet (Wu, Peng, Yu, MIR 2023) and FCOS (Tian et al., ICCV 2019) in spirit.
"""

from __future__ import annotations

#: Channels of the stem.
STEM = 16
#: (in, out, stride) of the backbone's blocks.
BACKBONE = (
    (16, 32, 2), (32, 32, 1),  # stride 4
    (32, 48, 2), (48, 48, 1),  # stride 8
    (48, 64, 2), (64, 64, 1), (64, 64, 1),  # stride 16
    (64, 96, 2), (96, 96, 1), (96, 96, 1),  # stride 32
)  # fmt: skip
#: Blocks after which a level is taken, the finest first, and its stride.
LEVELS = ((3, 8), (6, 16), (9, 32))
#: Score, dx, dy, log width, log height.
OUTPUTS = 5
