// Shared by the forward and backward sweeps of the geometry transfer network.
//
// Logits are G(p) = T·D(p), where D are the depthwise features of pixel p, a few dozen numbers. Computing them again is
// cheaper than storing them, so each sweep over the pixels does so, strip by strip: vectors hold maps in their lanes,
// and pixels are broadcast. T is multiplied by log₂ e, so all logits, and `high` and `low`, are in powers of two.
#pragma once

#include "gemm.h"
#include "kernels.h"
#include "maps.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {

constexpr int kLanes = Vec::lanes;
constexpr int kStrip = kGeometryStrip;
constexpr int kStripFloats = kStrip * kLanes;  // of a strip, for one block of channels or maps: [pixel][lanes]

// The rows y − 1, y, y + 1 of an image. Rows outside are zeros.
struct Rows {
  const float* row[3];
};

ACDC_INLINE Rows rows_around(const float* image, const float* zeros, int64_t y, int64_t height, int64_t stride) {
  Rows r;
  for (int i = 0; i < 3; ++i) {
    const int64_t at = y + i - 1;
    r.row[i] = at < 0 || at >= height ? zeros : image + at * stride;
  }
  return r;
}

// 2ˣ by the same code as in the sweeps over pixels, so that a map's lowest pixel gets level 0.
ACDC_INLINE float exp2_one(float x) {
  float out[kLanes];
  exp2_of_negative(Vec::broadcast(x)).store(out);
  return out[0];
}

// The value of a map's lowest pixel, if that of its highest pixel is 1.
ACDC_INLINE float floor_of(float low, float high) { return high - low < kFlat ? 1.f : exp2_one(low - high); }

// Σ taps·neighbours at `at` floats into the rows. n of the vector's channels exist. `left` and `right` say whether the
// neighbours on that side exist.
ACDC_INLINE Vec depthwise_pixel(const Rows& in, const Vec (&taps)[9], int64_t at, int64_t channels, int n, bool left,
                                bool right) {
  Vec sum = Vec::zero();
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    const float* p = in.row[i] + at;
    if (left) sum = fma(Vec::load(p - channels, n), taps[3 * i], sum);
    sum = fma(Vec::load(p, n), taps[3 * i + 1], sum);
    if (right) sum = fma(Vec::load(p + channels, n), taps[3 * i + 2], sum);
  }
  return sum;
}

// Features of `count` pixels from x0: [block of channels][kStrip][lanes]. The last one is repeated up to the next whole
// tile of products, where it changes no extreme.
ACDC_INLINE void depthwise_strip(const Rows& in, const float* taps, const GeometryShape& s, int64_t x0, int count,
                                 float* features) {
  for (int64_t c = 0; c < s.k; c += kLanes, taps += 9 * kLanes, features += kStripFloats) {
    const int n = s.k - c < kLanes ? static_cast<int>(s.k - c) : kLanes;
    Vec t[9], last = Vec::zero();
    for (int i = 0; i < 9; ++i) t[i] = Vec::load(taps + i * kLanes);
    for (int p = 0; p < count; ++p) {
      const int64_t x = x0 + p, at = x * s.channels + c;
      if (x > 0 && x + 1 < s.width) {
        last = depthwise_pixel(in, t, at, s.channels, n, true, true);
      } else {
        last = depthwise_pixel(in, t, at, s.channels, n, x > 0, x + 1 < s.width);
      }
      last.store(features + p * kLanes);
    }
    for (int p = count; p % kLandmarkRows; ++p) last.store(features + p * kLanes);
  }
}

// Calls body(first slot, number of vectors as a constant) for each panel of a stream's maps.
template <int C>
struct Vectors {
  static constexpr int count = C;
};
template <class Body>
ACDC_INLINE void each_panel(const Stream& stream, Body body) {
  static_assert(kLandmarkPanel == 3, "the cases below");
  for (int64_t slot = stream.slot, end = slot + stream.slots; slot < end; slot += kLandmarkPanel * kLanes) {
    const int64_t left = (end - slot) / kLanes;
    if (left >= 3) {
      body(slot, Vectors<3>());
    } else if (left == 2) {
      body(slot, Vectors<2>());
    } else {
      body(slot, Vectors<1>());
    }
  }
}

// The first slot of the panel that holds `slot`; the floats of the panel that begins at `first`.
ACDC_INLINE int64_t panel_slot(const Stream& stream, int64_t slot) {
  constexpr int64_t step = kLandmarkPanel * kLanes;
  return stream.slot + (slot - stream.slot) / step * step;
}
ACDC_INLINE int64_t panel_floats(const Stream& stream, int64_t first) {
  const int64_t left = stream.slot + stream.slots - first;
  return left < kLandmarkPanel * kLanes ? left : kLandmarkPanel * kLanes;
}

// Logits of kLandmarkRows pixels from p, for C vectors of maps. `transfer` (K, C·lanes) is their panel.
template <int C>
ACDC_INLINE Tile<kLandmarkRows, C> logits_tile(const float* features, int p, const float* transfer, int64_t k) {
  Tile<kLandmarkRows, C> tile;
  multiply(tile, features + p * kLanes, kStripFloats, transfer, static_cast<int>(k));
  return tile;
}

// Logits of a strip's pixels: [vector][kStrip][lanes].
template <int C>
ACDC_INLINE void logits_strip(const float* features, int count, const float* transfer, int64_t k, float* logits) {
  for (int p = 0; p < count; p += kLandmarkRows) {
    const auto tile = logits_tile<C>(features, p, transfer, k);
#pragma GCC unroll 8
    for (int i = 0; i < kLandmarkRows; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) tile.at[i][j].store(logits + j * kStripFloats + (p + i) * kLanes);
    }
  }
}

// Packs taps and transfer for the sweeps, and makes the row of zeros. Lanes without channel or map are 0.
ACDC_INLINE void pack_geometry(const GeometryShape& s, const GeometryLayout& l, const float* depthwise,
                               const float* transfer, float* scratch) {
  float *taps = scratch + l.taps, *panels = scratch + l.transfer;
  fill(taps, s.streams * 9 * s.padded, 0.f);
  fill(panels, s.k * s.slots, 0.f);
  fill(scratch + l.zeros, s.width * zeros_width(s), 0.f);
  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t c = 0; c < s.k; ++c) {
      float* to = taps + (i * s.padded + c / kLanes * kLanes) * 9 + c % kLanes;
      for (int t = 0; t < 9; ++t) to[t * kLanes] = depthwise[(i * s.k + c) * 9 + t];
      for (int64_t m = 0; m < st.maps; ++m) {
        const int64_t first = panel_slot(st, st.slot + m), wide = panel_floats(st, first);
        panels[first * s.k + c * wide + st.slot + m - first] = 1.44269504f * transfer[(st.map + m) * s.k + c];
      }
    }
  }
}

// The rows of one task: [first, last) of face b.
struct Block {
  int64_t b, first, last;
};
ACDC_INLINE Block block_of(const GeometryShape& s, int64_t task) {
  const int64_t first = task % s.blocks * s.block_rows, last = first + s.block_rows;
  return {task / s.blocks, first, last < s.height ? last : s.height};
}

}  // namespace acdc::ACDC_ISA_NS
