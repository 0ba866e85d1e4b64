// Plain descriptions that the detector hands to its kernels.
//
// A row of activations is [channel block][pitch]: Vec::lanes channels of one pixel lie together, pixel x at
// (x + 1)·lanes. One pixel of zeros before the first and one behind the last are the convolutions' padding. Then comes
// room for kSpare pixels: kernels may write there, and nothing reads it.
#pragma once

#include <cstdint>

namespace acdc {

struct DetectorRow {
  float* data;
  int64_t pitch;  // floats of a channel block
};

constexpr int kSpare = 32;  // more than the rows of any register tile

// 1×1 convolution: [panel][inputs][panel width·lanes] as gemm.h reads it.
struct DetectorPointwise {
  int in_blocks, out_blocks;  // in vectors
  const float *weights, *bias;
  bool relu;
};

// 3×3 depthwise convolution with ReLU, then 1×1.
struct DetectorBlock {
  int stride;
  const float *depthwise, *depthwise_bias;  // [block][9][lanes], [block][lanes]
  DetectorPointwise pointwise;
};

// 3×3 convolution of stride 2 from one grey channel, with ReLU.
struct DetectorStem {
  int out_blocks;
  const float *weights, *bias;  // [9][out_blocks·lanes], [out_blocks·lanes]
};

}  // namespace acdc
