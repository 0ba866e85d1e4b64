// Layers of the detector, one row at a time, so that the inputs of a row stay in the first cache levels.
#include "detector_types.h"
#include "gemm.h"
#include "kernels.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;

ACDC_INLINE void frame(const DetectorRow& row, int blocks, int width) {
  for (int c = 0; c < blocks; ++c) Vec::zero().store(row.data + c * row.pitch + (width + 1) * kLanes);
}

// R pixels × C vectors of one panel.
template <int R, int C>
ACDC_INLINE void pointwise_tile(const DetectorPointwise& layer, const float* in, int64_t in_pitch, const float* weights,
                                const float* bias, float* out, int64_t out_pitch) {
  Tile<R, C> t;
  multiply<R, C>(t, in, in_pitch, weights, layer.in_blocks * kLanes);
  const Vec least = Vec::broadcast(layer.relu ? 0.f : -3.4e38f);
#pragma GCC unroll 32
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) {
      max(t.at[i][j] + Vec::load(bias + j * kLanes), least).store(out + j * out_pitch + i * kLanes);
    }
  }
}

template <int C>
ACDC_INLINE void pointwise_panel(const DetectorPointwise& layer, const float* in, int64_t in_pitch, int first_block,
                                 int width, const DetectorRow& out) {
  constexpr int kMost = kRows[C] < kSpare ? kRows[C] : kSpare, kFew = 4;
  const float* weights = layer.weights + static_cast<int64_t>(first_block) * kLanes * layer.in_blocks * kLanes;
  const float* bias = layer.bias + first_block * kLanes;
  float* to = out.data + first_block * out.pitch + kLanes;
  int x = 0;
  for (; x + kMost <= width; x += kMost) {
    pointwise_tile<kMost, C>(layer, in + x * kLanes, in_pitch, weights, bias, to + x * kLanes, out.pitch);
  }
  for (; x < width; x += kFew) {
    pointwise_tile<kFew, C>(layer, in + x * kLanes, in_pitch, weights, bias, to + x * kLanes, out.pitch);
  }
}

// Stride S. P outputs side by side share their loads.
template <int S, int P>
ACDC_INLINE void depthwise_pixels(const float* const in[3], const Vec w[9], Vec bias, float* out) {
  Vec sum[P];
  for (int p = 0; p < P; ++p) sum[p] = bias;
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < S * (P - 1) + 3; ++i) {
      const Vec value = Vec::load(in[r] + i * kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const int tap = i - S * p;
        if (tap >= 0 && tap < 3) sum[p] = fma(value, w[r * 3 + tap], sum[p]);
      }
    }
  }
  for (int p = 0; p < P; ++p) max(sum[p], Vec::zero()).store(out + p * kLanes);
}

template <int S>
ACDC_INLINE void depthwise(const DetectorBlock& layer, const DetectorRow in[3], int width, float* scratch,
                           int64_t scratch_pitch) {
  constexpr int kPixels = kLanes == 16 ? 8 : 4;
  for (int c = 0; c < layer.pointwise.in_blocks; ++c) {
    Vec w[9];
    for (int i = 0; i < 9; ++i) w[i] = Vec::load(layer.depthwise + (c * 9 + i) * kLanes);
    const Vec bias = Vec::load(layer.depthwise_bias + c * kLanes);
    float* out = scratch + c * scratch_pitch;
    int x = 0;
    for (; x + kPixels <= width; x += kPixels) {
      const float* rows[3];
      for (int r = 0; r < 3; ++r) rows[r] = in[r].data + c * in[r].pitch + static_cast<int64_t>(S) * x * kLanes;
      depthwise_pixels<S, kPixels>(rows, w, bias, out + x * kLanes);
    }
    for (; x < width; ++x) {
      const float* rows[3];
      for (int r = 0; r < 3; ++r) rows[r] = in[r].data + c * in[r].pitch + static_cast<int64_t>(S) * x * kLanes;
      depthwise_pixels<S, 1>(rows, w, bias, out + x * kLanes);
    }
  }
}

}  // namespace

void detector_picture(const uint8_t* grey, int width, float* out) {
  for (int x = 0; x < width; ++x) out[x + 1] = (static_cast<float>(grey[x]) - 128.f) * 0.0078125f;
  out[0] = out[width + 1] = 0.f;
}

void detector_stem(const DetectorStem& layer, const float* const in[3], int width, const DetectorRow& out) {
  const FlushDenormals guard;
  for (int c = 0; c < layer.out_blocks; ++c) {
    Vec w[9];
    for (int i = 0; i < 9; ++i) w[i] = Vec::load(layer.weights + (i * layer.out_blocks + c) * kLanes);
    const Vec bias = Vec::load(layer.bias + c * kLanes);
    float* to = out.data + c * out.pitch + kLanes;
    for (int x = 0; x < width; ++x) {
      Vec a = bias, b = Vec::zero(), d = Vec::zero();  // three sums, so that no sum waits for the one before
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        a = fma(Vec::broadcast(in[0][2 * x + i]), w[i], a);
        b = fma(Vec::broadcast(in[1][2 * x + i]), w[3 + i], b);
        d = fma(Vec::broadcast(in[2][2 * x + i]), w[6 + i], d);
      }
      max(a + b + d, Vec::zero()).store(to + x * kLanes);
    }
  }
  frame(out, layer.out_blocks, width);
}

void detector_pointwise(const DetectorPointwise& layer, const float* in, int64_t in_pitch, int width,
                        const DetectorRow& out) {
  const FlushDenormals guard;
  int block = 0;
  for (; block + kPanel <= layer.out_blocks; block += kPanel) {
    pointwise_panel<kPanel>(layer, in, in_pitch, block, width, out);
  }
  for (; block < layer.out_blocks; ++block) pointwise_panel<1>(layer, in, in_pitch, block, width, out);
  frame(out, layer.out_blocks, width);
}

void detector_block(const DetectorBlock& layer, const DetectorRow in[3], int width, float* scratch,
                    int64_t scratch_pitch, const DetectorRow& out) {
  {
    const FlushDenormals guard;
    if (layer.stride == 1) {
      depthwise<1>(layer, in, width, scratch, scratch_pitch);
    } else {
      depthwise<2>(layer, in, width, scratch, scratch_pitch);
    }
  }
  detector_pointwise(layer.pointwise, scratch, scratch_pitch, width, out);
}

void detector_add(const DetectorRow& fine, const DetectorRow& coarse, int blocks, int width, const DetectorRow& out) {
  for (int c = 0; c < blocks; ++c) {
    const float* a = fine.data + c * fine.pitch + kLanes;
    const float* b = coarse.data + c * coarse.pitch + kLanes;
    float* to = out.data + c * out.pitch + kLanes;
    for (int x = 0; x < width; ++x) (Vec::load(a + x * kLanes) + Vec::load(b + x / 2 * kLanes)).store(to + x * kLanes);
  }
  frame(out, blocks, width);
}

}  // namespace acdc::ACDC_ISA_NS
