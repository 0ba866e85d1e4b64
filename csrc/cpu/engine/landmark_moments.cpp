// The second pass of the geometry transfer network over H: one exponential for both the moments and the mask. Logits
// stay in registers and L1.
#include "kernels.h"
#include "landmarks.h"

namespace acdc::ACDC_ISA_NS {

namespace {

constexpr int kept_sums(WantedSums wanted) {
  return wanted == WantedSums::none ? 0 : wanted == WantedSums::mean ? 3 : kSums;
}

// Columns of a strip, in pixels from its middle.
struct Columns {
  float x[kStrip], xx[kStrip];
  constexpr Columns() : x(), xx() {
    for (int p = 0; p < kStrip; ++p) x[p] = p + 0.5f * (1 - kStrip), xx[p] = x[p] * x[p];
  }
};
constexpr Columns kColumns;

// Float sums of a strip, in pixels from its middle: e, ex, ey, exx, exy, eyy, each [maps]. In a stream without a mask e
// is 2^(logit − reference). The reference, a whole number, grows with the logits of the task; `fade` is by how much the
// sums of the strips before have shrunk since.
struct Sums {
  float *sums, *reference, *fade;
  int maps;
};

// Raises the reference of one vector of maps to at least `most`, and scales what was summed. 2⁻²⁵⁰ is 0 beside it.
inline void raise(const Sums& s, int map, Vec most, int kept) {
  const Vec old = Vec::load(s.reference + map), one = Vec::broadcast(1);
  const Vec next = select(at_least(old, most), old, round(most) + one), drop = max(old - next, Vec::broadcast(-250));
  next.store(s.reference + map);
  scale2(Vec::load(s.fade + map), drop).store(s.fade + map);
  float* at = s.sums + map;
  for (int i = 0; i < kept; ++i, at += s.maps) scale2(Vec::load(at), drop).store(at);
}

template <int C, WantedSums wanted, bool masked>
void moments_panel(const Landmarks& net, const float* d, int count, const float* right, const Levels& levels, int map,
                   float y, const Sums& out, float* level) {
  constexpr int kept = kept_sums(wanted);
  alignas(64) float logits[kStrip * C * kLanes];
  Vec most[C];
#pragma GCC unroll 3
  for (int j = 0; j < C; ++j) most[j] = Vec::broadcast(-__builtin_inff());
  for (int p = 0; p < count; p += kLandmarkRows) {
    Tile<kLandmarkRows, C> t;
    multiply(t, d + p * kLanes, kStripBlock, right, net.inputs);
#pragma GCC unroll 8
    for (int i = 0; i < kLandmarkRows; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) t.at[i][j].store(logits + ((p + i) * C + j) * kLanes);
    }
    if constexpr (masked) continue;
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {  // pairwise, so that no step waits for the one before
#pragma GCC unroll 4
      for (int i = 0; i < kLandmarkRows / 2; ++i) t.at[i][j] = max(t.at[i][j], t.at[i + kLandmarkRows / 2][j]);
#pragma GCC unroll 4
      for (int i = 0; i < kLandmarkRows / 2; ++i) most[j] = max(t.at[i][j], most[j]);
    }
  }
  Vec high[C], scale[C], shift[C], s[C], sx[C], sxx[C];
#pragma GCC unroll 3
  for (int j = 0; j < C; ++j) {
    const int at = map + j * kLanes;
    if constexpr (masked) {
      high[j] = Vec::load(levels.high + at), scale[j] = Vec::load(levels.scale + at);
      shift[j] = Vec::load(levels.shift + at);
    } else {
      if (!all(at_least(Vec::load(out.reference + at), most[j]))) raise(out, at, most[j], kept);
      high[j] = Vec::load(out.reference + at);
    }
    s[j] = sx[j] = sxx[j] = Vec::zero();
  }
  for (int p = 0; p < count; ++p) {
    const Vec x = Vec::broadcast(kColumns.x[p]), xx = Vec::broadcast(kColumns.xx[p]);
    Vec top = Vec::load(level + p * kLanes);
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      const Vec e = exp2_of_negative(Vec::load(logits + (p * C + j) * kLanes) - high[j]);
      if constexpr (kept > 0) s[j] = s[j] + e, sx[j] = fma(x, e, sx[j]);
      if constexpr (kept == kSums) sxx[j] = fma(xx, e, sxx[j]);
      if constexpr (masked) top = max(top, fma(e, scale[j], shift[j]));
    }
    if constexpr (masked) top.store(level + p * kLanes);
  }
  const Vec row = Vec::broadcast(y);
  float* const sums = out.sums + map;
  const int64_t maps = out.maps;
#pragma GCC unroll 3
  for (int j = 0; j < C; ++j) {
    const Vec terms[kSums] = {s[j], sx[j], row * s[j], sxx[j], row * sx[j], row * row * s[j]};
    float* at = sums + j * kLanes;
#pragma GCC unroll 6
    for (int i = 0; i < kept; ++i, at += maps) (Vec::load(at) + terms[i]).store(at);
  }
}

template <int C, bool masked>
void moments_panel(WantedSums wanted, const Landmarks& net, const float* d, int count, const float* right,
                   const Levels& levels, int map, float y, const Sums& out, float* level) {
  switch (wanted) {
    case WantedSums::none:
      if constexpr (!masked) return;
      return moments_panel<C, WantedSums::none, true>(net, d, count, right, levels, map, y, out, level);
    case WantedSums::mean:
      return moments_panel<C, WantedSums::mean, masked>(net, d, count, right, levels, map, y, out, level);
    case WantedSums::all:
      return moments_panel<C, WantedSums::all, masked>(net, d, count, right, levels, map, y, out, level);
  }
}

// A level that all pixels of a tile have reached.
ACDC_INLINE Vec reached(const float* level) {
  Vec least = Vec::load(level);
  for (int row = 0; row < kStripRows; ++row) {
#pragma GCC unroll 4
    for (int p = 0; p < kTile; ++p) least = min(least, Vec::load(level + (row * kStrip + p) * kLanes));
  }
  return Vec::broadcast(reduce_max(least));
}

// The mask alone, for a panel whose sums are not wanted. A tile that no map can raise is skipped.
template <int C>
void mask_panel(const Landmarks& net, const TiledStrip& s, const float* right, const Levels& levels, int map,
                float* level) {
  const Vec margin = Vec::broadcast(1 + 0x1p-19f);  // more than the error of the exponential, at both ends
  for (int first = 0; first < s.tiles; first += kBoundRows) {
    const Bounds<C> bounds = logit_bounds<C>(net, s, first, right);
    for (int i = 0; i < kBoundRows && first + i < s.tiles; ++i) {
      float* const own = level + (first + i) * kTile * kLanes;
      Vec floor = reached(own);
      for (int j = 0; j < C; ++j) {
        const int64_t at = map + j * kLanes;
        const Vec high = Vec::load(levels.high + at), scale = Vec::load(levels.scale + at);
        const Vec shift = Vec::load(levels.shift + at);
        const Vec most = exp2_of_negative(min(bounds.high[i][j] - high, Vec::zero())) * margin;
        if (all(at_least(floor, fma(most, scale, shift)))) continue;  // false for a NaN
        const float* d = s.d + (first + i) * kTilePixels * kLanes;
        for (int p = 0; p < kTilePixels; p += kColumnRows) {
          const auto t = logits_column<C>(net, d + p * kLanes, right + j * kLanes);
#pragma GCC unroll 16
          for (int q = 0; q < kColumnRows; ++q) {
            float* const pixel = own + ((p + q) / kTile * kStrip + (p + q) % kTile) * kLanes;
            const Vec e = exp2_of_negative(t.at[q][0] - high);
            max(Vec::load(pixel), fma(e, scale, shift)).store(pixel);
          }
        }
        floor = reached(own);
      }
    }
  }
}

// Moves a strip's sums of maps [first, last) to the map's origin, pixel (0, 0), in double precision, and adds them to
// those of the strips before.
void merge_strip(WantedSums wanted, const Sums& strip, int first, int last, double y0, double x0, double* total) {
  if (wanted == WantedSums::none) return;
  const int maps = strip.maps;
  const float *s = strip.sums, *sx = s + maps, *sy = sx + maps, *sxx = sy + maps, *sxy = sxx + maps, *syy = sxy + maps;
  for (int l = first; l < last; ++l) {
    const double e = s[l], ex = sx[l], ey = sy[l], old = strip.fade[l];
    total[l] = total[l] * old + e;
    total[maps + l] = total[maps + l] * old + ex + x0 * e;
    total[2 * maps + l] = total[2 * maps + l] * old + ey + y0 * e;
  }
  if (wanted == WantedSums::mean) return;
  for (int l = first; l < last; ++l) {
    const double e = s[l], ex = sx[l], ey = sy[l], old = strip.fade[l];
    total[3 * maps + l] = total[3 * maps + l] * old + sxx[l] + 2 * x0 * ex + x0 * x0 * e;
    total[4 * maps + l] = total[4 * maps + l] * old + sxy[l] + x0 * ey + y0 * ex + x0 * y0 * e;
    total[5 * maps + l] = total[5 * maps + l] * old + syy[l] + 2 * y0 * ey + y0 * y0 * e;
  }
}

}  // namespace

void landmark_moments(const Landmarks& net, int first_row, int last_row, const Levels& levels, float* scratch,
                      double* total, float* mask) {
  const FlushDenormals guard;
  const int maps = (net.blocks[0] + net.blocks[1]) * kLanes, width = net.embedding.width;
  float* const sums = scratch + landmark_strip_floats(net.inputs, kLanes);
  const Sums strip_sums = {sums, sums + kSums * maps, sums + (kSums + 1) * maps, maps};
  const Vec one = Vec::broadcast(1);
  for (int i = 0; i < kSumRows * maps; ++i) total[i] = 0;
  for (int stream = 0, l = 0; stream < net.streams; ++stream) {
    const Vec least = Vec::broadcast(net.masked[stream] ? 0 : -__builtin_inff());
    for (int end = l + net.blocks[stream] * static_cast<int>(kLanes); l < end; l += kLanes) {
      least.store(strip_sums.reference + l);
    }
  }
  for (int top = first_row; top < last_row; top += kStripRows) {
    for (int x = 0; x < width; x += kStrip) {
      const int count = width - x < kStrip ? width - x : kStrip;
      for (int i = 0; i < kSums * maps; i += kLanes) Vec::zero().store(sums + i);
      for (int i = 0; i < maps; i += kLanes) one.store(strip_sums.fade + i);
      alignas(64) float level[kStripBlock];
      for (int i = 0; i < kStripBlock; i += kLanes) Vec::zero().store(level + i);
      // The last stream first. It has the pose's maps, and their sums are always wanted. The levels that it reaches let
      // the other stream skip more tiles.
      for (int stream = net.streams - 1; stream >= 0; --stream) {
        const int map = stream ? net.blocks[0] * static_cast<int>(kLanes) : 0;
        const WantedSums wanted = levels.wanted[stream];
        if (wanted == WantedSums::none && levels.steep[stream]) {
          const TiledStrip strip = tiled_strip(net, stream, top, x, count, true, scratch);
          each_panel(net, stream, [&](auto panel, int n, const float* right) {
            const int at = map + n * static_cast<int>(kLanes);
            mask_panel<decltype(panel)::vectors>(net, strip, right, levels, at, level);
          });
          continue;
        }
        for (int row = 0; row < kStripRows; ++row) {
          depthwise_row(net, stream, top + row, x, count, kTile, scratch);
          const float y = row + 0.5f * (1 - kStripRows);
          each_panel(net, stream, [&](auto panel, int n, const float* right) {
            constexpr int C = decltype(panel)::vectors;
            const int at = map + n * static_cast<int>(kLanes);
            float* const own = level + row * kStrip * kLanes;
            if (net.masked[stream]) {
              moments_panel<C, true>(wanted, net, scratch, count, right, levels, at, y, strip_sums, own);
            } else {
              moments_panel<C, false>(wanted, net, scratch, count, right, levels, at, y, strip_sums, own);
            }
          });
        }
        const int end = map + net.blocks[stream] * static_cast<int>(kLanes);
        merge_strip(wanted, strip_sums, map, end, top + 0.5 * (kStripRows - 1), x + 0.5 * (kStrip - 1), total);
      }
      for (int row = 0; row < kStripRows && (net.masked[0] || net.masked[1]); ++row) {
        for (int p = 0; p < count; ++p) {
          mask[(top + row) * width + x + p] = reduce_max(Vec::load(level + (row * kStrip + p) * kLanes));
        }
      }
    }
  }
  for (int l = 0; l < maps; ++l) total[kSums * maps + l] = strip_sums.reference[l];
}

// Uses the same exp2 as landmark_moments, so that a map's floor is the value of its lowest pixel.
void landmark_levels(const float* low, const float* high, const unsigned char* masked, int maps, float* scale,
                     float* shift) {
  const FlushDenormals guard;
  for (int l = 0; l < maps; l += Vec::lanes) {
    float floors[Vec::lanes];
    const Vec least = Vec::load(low + l), most = Vec::load(high + l);
    select(deep(least, most), Vec::zero(), exp2_of_negative(least - most)).store(floors);
    for (int i = 0; i < Vec::lanes; ++i) {
      // A constant map has floor 1 and contributes 0.
      const bool used = masked[l + i] && floors[i] < 1.f && high[l + i] - low[l + i] >= kFlat;
      scale[l + i] = used ? 1.f / (1.f - floors[i]) : 0.f;
      shift[l + i] = used ? -floors[i] / (1.f - floors[i]) : 0.f;
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
