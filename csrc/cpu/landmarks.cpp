// The geometry transfer network in two passes over H: depthwise 3×3, transfer product, then first only each map's least
// and greatest logit, and in the second one exponential for both the moments and the mask. Logits live in registers and
// L1.
#include "engine_types.h"
#include "gemm.h"
#include "kernels.h"

namespace acdc::ACDC_ISA_NS {

namespace {

constexpr int64_t kLanes = Vec::lanes;
constexpr int kStrip = 32;  // pixels of a row that are worked on at once
constexpr int kStripRows = 4;

// Depthwise 3×3 at `count` pixels of a row: d[channel block][kStrip][lanes].
void depthwise_strip(const Landmarks& net, int stream, int y, int x, int count, float* d) {
  const Tensor& h = net.embedding;
  for (int c = 0; c * kLanes < net.inputs; ++c) {
    const float* weights = net.depthwise[stream] + c * 9 * kLanes;
    Vec w[9];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) w[i] = Vec::load(weights + i * kLanes);
    const float* source = h.at(y - 1, x - 1) + net.first[stream] + c * kLanes;
    for (int p = 0; p < count; ++p, source += h.channels, d += kLanes) {
      Vec sum = Vec::zero();
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) sum = fma(w[i * 3 + j], Vec::load(source + i * h.pitch + j * h.channels), sum);
      }
      sum.store(d);
    }
    d += (kStrip - count) * kLanes;
  }
}

template <int R, int C>
ACDC_INLINE Tile<R, C> logits_tile(const Landmarks& net, const float* d, const float* right) {
  Tile<R, C> t;
  multiply(t, d, kStrip * kLanes, right, net.inputs);
  return t;
}

template <int C>
void extremes_panel(const Landmarks& net, const float* d, int count, const float* right, float* low, float* high) {
  Vec lo[C], hi[C];
  for (int j = 0; j < C; ++j) lo[j] = Vec::load(low + j * kLanes), hi[j] = Vec::load(high + j * kLanes);
  for (int p = 0; p < count; p += kLandmarkRows) {
    const auto t = logits_tile<kLandmarkRows, C>(net, d + p * kLanes, right);
#pragma GCC unroll 8
    for (int i = 0; i < kLandmarkRows; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) lo[j] = min(lo[j], t.at[i][j]), hi[j] = max(hi[j], t.at[i][j]);
    }
  }
  for (int j = 0; j < C; ++j) lo[j].store(low + j * kLanes), hi[j].store(high + j * kLanes);
}

// Sums of one strip of kStripRows rows, in pixels from its middle: e, ex, ey, exx, exy, eyy, each [maps].
constexpr int kSums = 6;

constexpr int kept_sums(Moments wanted) { return wanted == Moments::none ? 0 : wanted == Moments::mean ? 3 : kSums; }

// Columns of a strip, in pixels from its middle.
struct Columns {
  float x[kStrip], xx[kStrip];
  constexpr Columns() : x(), xx() {
    for (int p = 0; p < kStrip; ++p) x[p] = p + 0.5f * (1 - kStrip), xx[p] = x[p] * x[p];
  }
};
constexpr Columns kColumns;

template <int C, Moments wanted>
void moments_panel(const Landmarks& net, const float* d, int count, const float* right, const Levels& levels, int map,
                   float y, float* sums, int maps, float* level) {
  float logits[kStrip * C * kLanes];
  for (int p = 0; p < count; p += kLandmarkRows) {
    const auto t = logits_tile<kLandmarkRows, C>(net, d + p * kLanes, right);
#pragma GCC unroll 8
    for (int i = 0; i < kLandmarkRows; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) t.at[i][j].store(logits + ((p + i) * C + j) * kLanes);
    }
  }
  Vec high[C], scale[C], shift[C], s[C], sx[C], sxx[C];
  for (int j = 0; j < C; ++j) {
    const int at = map + j * kLanes;
    high[j] = Vec::load(levels.high + at), scale[j] = Vec::load(levels.scale + at);
    shift[j] = Vec::load(levels.shift + at);
    s[j] = sx[j] = sxx[j] = Vec::zero();
  }
  for (int p = 0; p < count; ++p) {
    const Vec x = Vec::broadcast(kColumns.x[p]), xx = Vec::broadcast(kColumns.xx[p]);
    Vec top = Vec::load(level + p * kLanes);
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      const Vec e = exp2_of_negative(Vec::load(logits + (p * C + j) * kLanes) - high[j]);
      if constexpr (wanted != Moments::none) s[j] = s[j] + e, sx[j] = fma(x, e, sx[j]);
      if constexpr (wanted == Moments::all) sxx[j] = fma(xx, e, sxx[j]);
      top = max(top, fma(e, scale[j], shift[j]));
    }
    top.store(level + p * kLanes);
  }
  constexpr int kept = kept_sums(wanted);
  const Vec row = Vec::broadcast(y);
  for (int j = 0; j < C; ++j) {
    const Vec terms[kSums] = {s[j], sx[j], row * s[j], sxx[j], row * sx[j], row * row * s[j]};
    float* at = sums + map + j * kLanes;
    for (int i = 0; i < kept; ++i, at += maps) (Vec::load(at) + terms[i]).store(at);
  }
}

template <int C>
void moments_panel(Moments wanted, const Landmarks& net, const float* d, int count, const float* right,
                   const Levels& levels, int map, float y, float* sums, int maps, float* level) {
  switch (wanted) {
    case Moments::none:
      return moments_panel<C, Moments::none>(net, d, count, right, levels, map, y, sums, maps, level);
    case Moments::mean:
      return moments_panel<C, Moments::mean>(net, d, count, right, levels, map, y, sums, maps, level);
    case Moments::all:
      return moments_panel<C, Moments::all>(net, d, count, right, levels, map, y, sums, maps, level);
  }
}

// Moves a strip's sums of maps [first, last) to the map's origin, pixel (0, 0), in double precision.
void merge_strip(Moments wanted, const float* sums, int maps, int first, int last, double y0, double x0,
                 double* total) {
  if (wanted == Moments::none) return;
  const float *s = sums, *sx = s + maps, *sy = sx + maps, *sxx = sy + maps, *sxy = sxx + maps, *syy = sxy + maps;
  for (int l = first; l < last; ++l) {
    const double e = s[l], ex = sx[l], ey = sy[l];
    total[l] += e;
    total[maps + l] += ex + x0 * e;
    total[2 * maps + l] += ey + y0 * e;
  }
  if (wanted == Moments::mean) return;
  for (int l = first; l < last; ++l) {
    const double e = s[l], ex = sx[l], ey = sy[l];
    total[3 * maps + l] += sxx[l] + 2 * x0 * ex + x0 * x0 * e;
    total[4 * maps + l] += sxy[l] + x0 * ey + y0 * ex + x0 * y0 * e;
    total[5 * maps + l] += syy[l] + 2 * y0 * ey + y0 * y0 * e;
  }
}

template <class Body>
ACDC_INLINE void each_panel(const Landmarks& net, int stream, Body body) {
  const float* right = net.transfer[stream];
  for (int n = 0; n < net.blocks[stream]; n += kLandmarkPanel) {
    const int left = net.blocks[stream] - n, count = left < kLandmarkPanel ? left : kLandmarkPanel;
    body(n, count, right);
    right += static_cast<int64_t>(count) * net.inputs * kLanes;
  }
}

}  // namespace

void landmark_extremes(const Landmarks& net, int first_row, int last_row, float* scratch, float* low, float* high) {
  const FlushDenormals guard;
  const int blocks = net.blocks[0] + net.blocks[1], width = net.embedding.width;
  for (int l = 0; l < blocks * kLanes; l += kLanes) {
    Vec::broadcast(__builtin_inff()).store(low + l);
    Vec::broadcast(-__builtin_inff()).store(high + l);
  }
  for (int y = first_row; y < last_row; ++y) {
    for (int x = 0; x < width; x += kStrip) {
      const int count = width - x < kStrip ? width - x : kStrip;
      for (int stream = 0, map = 0; stream < net.streams; map += net.blocks[stream++] * kLanes) {
        depthwise_strip(net, stream, y, x, count, scratch);
        each_panel(net, stream, [&](int n, int vectors, const float* right) {
          float *lo = low + map + n * kLanes, *hi = high + map + n * kLanes;
          if (vectors == 3) return extremes_panel<3>(net, scratch, count, right, lo, hi);
          if (vectors == 2) return extremes_panel<2>(net, scratch, count, right, lo, hi);
          extremes_panel<1>(net, scratch, count, right, lo, hi);
        });
      }
    }
  }
}

void landmark_moments(const Landmarks& net, int first_row, int last_row, const Levels& levels, float* scratch,
                      double* total, float* mask) {
  const FlushDenormals guard;
  const int maps = (net.blocks[0] + net.blocks[1]) * kLanes, width = net.embedding.width;
  float* const sums = scratch + landmark_strip_floats(net.inputs, kLanes);
  for (int i = 0; i < kSums * maps; ++i) total[i] = 0;
  for (int top = first_row; top < last_row; top += kStripRows) {
    const int rows = last_row - top < kStripRows ? last_row - top : kStripRows;
    for (int x = 0; x < width; x += kStrip) {
      const int count = width - x < kStrip ? width - x : kStrip;
      for (int i = 0; i < kSums * maps; i += kLanes) Vec::zero().store(sums + i);
      for (int y = top; y < top + rows; ++y) {
        float level[kStrip * kLanes];
        for (int p = 0; p < count; ++p) Vec::zero().store(level + p * kLanes);
        for (int stream = 0, map = 0; stream < net.streams; map += net.blocks[stream++] * kLanes) {
          depthwise_strip(net, stream, y, x, count, scratch);
          each_panel(net, stream, [&](int n, int vectors, const float* right) {
            const int at = map + n * kLanes;
            const float row = y - top + 0.5f * (1 - kStripRows);
            if (vectors == 3) {
              moments_panel<3>(levels.wanted[stream], net, scratch, count, right, levels, at, row, sums, maps, level);
            } else if (vectors == 2) {
              moments_panel<2>(levels.wanted[stream], net, scratch, count, right, levels, at, row, sums, maps, level);
            } else {
              moments_panel<1>(levels.wanted[stream], net, scratch, count, right, levels, at, row, sums, maps, level);
            }
          });
        }
        for (int p = 0; p < count; ++p) mask[y * width + x + p] = reduce_max(Vec::load(level + p * kLanes));
      }
      for (int stream = 0, map = 0; stream < net.streams; ++stream) {
        const int end = map + net.blocks[stream] * static_cast<int>(kLanes);
        merge_strip(levels.wanted[stream], sums, maps, map, end, top + 0.5 * (kStripRows - 1), x + 0.5 * (kStrip - 1),
                    total);
        map = end;
      }
    }
  }
}

// exp2 as landmark_moments computes it, so that a map's floor is the value its lowest pixel gets.
void landmark_levels(const float* low, const float* high, const unsigned char* masked, int maps, float* scale,
                     float* shift) {
  const FlushDenormals guard;
  for (int l = 0; l < maps; l += Vec::lanes) {
    float floors[Vec::lanes];
    exp2_of_negative(Vec::load(low + l) - Vec::load(high + l)).store(floors);
    for (int i = 0; i < Vec::lanes; ++i) {
      const bool used = masked[l + i] && floors[i] < 1.f && high[l + i] - low[l + i] >= kFlat;  // a constant map has floor 1 and contributes 0
      scale[l + i] = used ? 1.f / (1.f - floors[i]) : 0.f;
      shift[l + i] = used ? -floors[i] / (1.f - floors[i]) : 0.f;
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
