// Shared by the two passes over H: strips of depthwise outputs, panels of maps, and bounds on a tile's logits. A pass
// skips a tile if its bounds show that it cannot change the result.
#pragma once

#include "engine_types.h"
#include "gemm.h"

namespace acdc::ACDC_ISA_NS {

constexpr int64_t kLanes = Vec::lanes;
constexpr int kStrip = 32, kStripRows = 4;  // pixels of a strip, the unit of work
constexpr int kTile = 4, kTilePixels = kTile * kStripRows, kTiles = kStrip / kTile;
constexpr int64_t kStripBlock = kStrip * kStripRows * kLanes;  // floats of a strip, for one channel block
#if defined(ACDC_ISA_AVX512) || defined(ACDC_ISA_NEON)
constexpr int kBoundRows = 4, kColumnRows = 16;
#else
constexpr int kBoundRows = 1, kColumnRows = 8;
#endif

// Whether a map's least value is so far below its greatest one that it counts as 0: 1 − 2⁻²⁵ is 1 in float32. So the
// first pass need not find its exact value; the second pass takes it for 0.
ACDC_INLINE Mask deep(Vec low, Vec high) { return less(low, high - Vec::broadcast(25)); }

// Depthwise 3×3 at P pixels of a row, side by side: a pixel's nine terms are one chain, and chains run beside each
// other.
template <int P>
ACDC_INLINE void depthwise_pixels(const Vec w[9], const float* source, int64_t pitch, int64_t channels, float* d) {
  Vec sum[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) sum[p] = Vec::zero();
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) {
    const float* row = source + i / 3 * pitch + i % 3 * channels;
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) sum[p] = fma(w[i], Vec::load(row + p * channels), sum[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) sum[p].store(d + p * kLanes);
}

// The same at `count` pixels, 1 or a multiple of four: d[channel block][strip][lanes]. Each group of four pixels is
// stored `jump` pixels after the group before.
inline void depthwise_row(const Landmarks& net, int stream, int y, int x, int count, int jump, float* d) {
  const Tensor& h = net.embedding;
  for (int c = 0; c * kLanes < net.inputs; ++c, d += kStripBlock) {
    const float* weights = net.depthwise[stream] + c * 9 * kLanes;
    Vec w[9];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) w[i] = Vec::load(weights + i * kLanes);
    const float* source = h.at(y - 1, x - 1) + net.first[stream] + c * kLanes;
    if (count == 1) depthwise_pixels<1>(w, source, h.pitch, h.channels, d);
    for (int group = 0; group < count / kTile; ++group, source += kTile * h.channels) {
      depthwise_pixels<kTile>(w, source, h.pitch, h.channels, d + group * jump * kLanes);
    }
  }
}

// The depthwise outputs of a strip, tile by tile: [channel block][tile][row][column][lanes]. After them the bounds of
// each tile, middle ± reach, each [channel block][tile][lanes].
struct TiledStrip {
  int tiles;
  float *d, *middle, *reach;
};

inline TiledStrip tiled_strip(const Landmarks& net, int stream, int y, int x, int count, bool bounded, float* scratch) {
  const int blocks = (net.inputs + Vec::lanes - 1) / Vec::lanes;
  float* const middle = scratch + blocks * kStripBlock;
  const TiledStrip s = {count / kTile, scratch, middle, middle + blocks * kTiles * kLanes};
  for (int row = 0; row < kStripRows; ++row) {
    depthwise_row(net, stream, y + row, x, count, kTilePixels, s.d + row * kTile * kLanes);
  }
  if (!bounded) return s;
  // The largest rounding error of a logit and its bound, each below 2·(inputs + 2) units of 2⁻²⁴ of Σ |w||d|.
  const Vec slack = Vec::broadcast(static_cast<float>(net.inputs + 8) * 0x1p-21f), half = Vec::broadcast(0.5f);
  for (int c = 0; c < blocks; ++c) {
    for (int t = 0; t < s.tiles; ++t) {
      const float* d = s.d + c * kStripBlock + t * kTilePixels * kLanes;
      Vec low = Vec::load(d), high = low;
#pragma GCC unroll 15
      for (int p = 1; p < kTilePixels; ++p) {
        const Vec value = Vec::load(d + p * kLanes);
        low = min(low, value), high = max(high, value);
      }
      const Vec mid = half * low + half * high, reach = max(high - mid, mid - low);
      const int64_t at = (static_cast<int64_t>(c) * kTiles + t) * kLanes;
      mid.store(s.middle + at);
      fma(slack, abs(mid) + reach, reach).store(s.reach + at);
    }
  }
  return s;
}

// For kBoundRows tiles and C vectors of maps: the least and greatest possible logits, Σ w·middle ± Σ |w|·reach.
template <int C>
struct Bounds {
  Vec low[kBoundRows][C], high[kBoundRows][C];
};

template <int C>
ACDC_INLINE Bounds<C> logit_bounds(const Landmarks& net, const TiledStrip& s, int tile, const float* right) {
  Tile<kBoundRows, C> middle, reach;
#pragma GCC unroll 4
  for (int i = 0; i < kBoundRows; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) middle.at[i][j] = reach.at[i][j] = Vec::zero();
  }
  int64_t at = tile * kLanes;
  for (int k = 0; k < net.inputs; k += Vec::lanes, at += kTiles * kLanes) {
    const int count = net.inputs - k < Vec::lanes ? net.inputs - k : Vec::lanes;
    for (int kk = 0; kk < count; ++kk, right += C * kLanes) {
      Vec w[C], size[C];
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) w[j] = Vec::load(right + j * kLanes), size[j] = abs(w[j]);
#pragma GCC unroll 4
      for (int i = 0; i < kBoundRows; ++i) {
        const Vec m = Vec::broadcast(s.middle[at + i * kLanes + kk]), r = Vec::broadcast(s.reach[at + i * kLanes + kk]);
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j) {
          middle.at[i][j] = fma(m, w[j], middle.at[i][j]), reach.at[i][j] = fma(r, size[j], reach.at[i][j]);
        }
      }
    }
  }
  Bounds<C> b;
#pragma GCC unroll 4
  for (int i = 0; i < kBoundRows; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      b.low[i][j] = middle.at[i][j] - reach.at[i][j], b.high[i][j] = middle.at[i][j] + reach.at[i][j];
    }
  }
  return b;
}

// One vector of maps at kColumnRows pixels of a tile. `right` is the vector's place in a panel of C vectors.
template <int C>
ACDC_INLINE Tile<kColumnRows, 1> logits_column(const Landmarks& net, const float* d, const float* right) {
  Tile<kColumnRows, 1> t;
#pragma GCC unroll 16
  for (int i = 0; i < kColumnRows; ++i) t.at[i][0] = Vec::zero();
  for (int k = 0; k < net.inputs; k += Vec::lanes, d += kStripBlock) {
    const int count = net.inputs - k < Vec::lanes ? net.inputs - k : Vec::lanes;
#pragma GCC unroll 4
    for (int kk = 0; kk < count; ++kk, right += C * kLanes) {
      const Vec w = Vec::load(right);
#pragma GCC unroll 16
      for (int i = 0; i < kColumnRows; ++i) t.at[i][0] = fma(Vec::broadcast(d[i * kLanes + kk]), w, t.at[i][0]);
    }
  }
  return t;
}

// Calls body(width of the panel as a type, its first vector, its weights) for each panel of a stream.
template <int C>
struct Width {
  static constexpr int vectors = C;
};

template <class Body>
ACDC_INLINE void each_panel(const Landmarks& net, int stream, Body body) {
  static_assert(kLandmarkPanel == 3, "one case a width");
  const float* right = net.transfer[stream];
  for (int n = 0; n < net.blocks[stream]; n += kLandmarkPanel) {
    const int left = net.blocks[stream] - n, count = left < kLandmarkPanel ? left : kLandmarkPanel;
    if (count == 3) {
      body(Width<3>(), n, right);
    } else if (count == 2) {
      body(Width<2>(), n, right);
    } else {
      body(Width<1>(), n, right);
    }
    right += static_cast<int64_t>(count) * net.inputs * kLanes;
  }
}

}  // namespace acdc::ACDC_ISA_NS
