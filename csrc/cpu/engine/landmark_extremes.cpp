// The first pass of the geometry transfer network over H: least and greatest logit of the maps of masked streams.
#include "kernels.h"
#include "landmarks.h"

namespace acdc::ACDC_ISA_NS {

namespace {

template <int C>
struct Range {
  Vec low[C], high[C], peak[C];
};

// Widens the range of vectors [first, first + D) by the logits of R pixels. It goes pairwise, so that no step waits for
// the one before. If one of the logits is the greatest so far, `here` becomes the peak.
template <int R, int D, int C>
ACDC_INLINE void widen(Range<C>& range, int first, const Tile<R, D>& t, Vec here) {
#pragma GCC unroll 3
  for (int j = 0; j < D; ++j) {
    Vec low[R], high[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) low[i] = high[i] = t.at[i][j];
#pragma GCC unroll 4
    for (int step = R / 2; step; step /= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < step; ++i) low[i] = min(low[i], low[i + step]), high[i] = max(high[i], high[i + step]);
    }
    const int k = first + j;
    range.peak[k] = select(less(range.high[k], high[0]), here, range.peak[k]);
    range.low[k] = min(low[0], range.low[k]), range.high[k] = max(high[0], range.high[k]);
  }
}

template <int C>
ACDC_INLINE void widen_by_tile(Range<C>& range, const Landmarks& net, const float* d, const float* right, Vec here) {
  for (int p = 0; p < kTilePixels; p += kLandmarkRows) {
    Tile<kLandmarkRows, C> t;
    multiply(t, d + p * kLanes, kStripBlock, right, net.inputs);
    widen(range, 0, t, here);
  }
}

struct Bounded {
  int tried = 0, spared = 0;
  // Bounds cost an eighth of the products.
  bool pays() const { return 6 * spared >= tried; }
};

// With `bounded`, a tile is skipped if its logits must lie within the extremes found so far. `pixel` is the number of
// the first tile's middle.
template <int C>
void extremes_panel(const Landmarks& net, const TiledStrip& s, const float* right, Bounded* bounded, int pixel,
                    float* low, float* high, float* peak) {
  const Vec lowest = Vec::broadcast(-__builtin_inff());
  Range<C> range;
  for (int j = 0; j < C; ++j) {
    range.low[j] = Vec::load(low + j * kLanes), range.high[j] = Vec::load(high + j * kLanes);
    range.peak[j] = Vec::load(peak + j * kLanes);
  }
  auto middle = [&](int tile) { return Vec::broadcast(static_cast<float>(pixel + tile * kTile)); };
  for (int first = 0; first < s.tiles; first += kBoundRows) {
    const int tiles = s.tiles - first < kBoundRows ? s.tiles - first : kBoundRows;
    const float* d = s.d + first * kTilePixels * kLanes;
    if (!bounded) {
      for (int i = 0; i < tiles; ++i) {
        widen_by_tile(range, net, d + i * kTilePixels * kLanes, right, middle(first + i));
      }
      continue;
    }
    const Bounds<C> bounds = logit_bounds<C>(net, s, first, right);
    for (int i = 0; i < tiles; ++i, d += kTilePixels * kLanes) {
      bool within[C];
      int spared = 0;
      for (int j = 0; j < C; ++j) {
        const Vec least = select(deep(range.low[j], range.high[j]), lowest, range.low[j]);
        within[j] = all(at_least(range.high[j], bounds.high[i][j])) && all(at_least(bounds.low[i][j], least));
        spared += within[j];  // a NaN is never within
      }
      bounded->tried += C, bounded->spared += spared;
      if (!spared) {
        widen_by_tile(range, net, d, right, middle(first + i));
        continue;
      }
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) {
        if (within[j]) continue;
        for (int p = 0; p < kTilePixels; p += kColumnRows) {
          widen(range, j, logits_column<C>(net, d + p * kLanes, right + j * kLanes), middle(first + i));
        }
      }
    }
  }
  for (int j = 0; j < C; ++j) {
    range.low[j].store(low + j * kLanes), range.high[j].store(high + j * kLanes);
    range.peak[j].store(peak + j * kLanes);
  }
}

// One vector of maps at one pixel. The sums have the same order as in a tile.
template <int C>
Vec logits_at(const Landmarks& net, const float* d, const float* right) {
  Vec sum = Vec::zero();
  for (int k = 0; k < net.inputs; ++k, right += C * kLanes) {
    sum = fma(Vec::broadcast(d[k / kLanes * kStripBlock + k % kLanes]), Vec::load(right), sum);
  }
  return sum;
}

}  // namespace

// Widens the ranges by the logits of all maps at each map's `peak`, the number of a pixel.
void landmark_seed(const Landmarks& net, const float* peak, float* scratch, float* low, float* high) {
  const FlushDenormals guard;
  const int width = net.embedding.width;
  for (int stream = 0, map = 0; stream < net.streams; map += net.blocks[stream++] * static_cast<int>(kLanes)) {
    if (!net.masked[stream]) continue;
    each_panel(net, stream, [&](auto panel, int n, const float* right) {
      constexpr int C = decltype(panel)::vectors;
      for (int j = 0; j < C; ++j) {
        float* const lowest = low + map + (n + j) * kLanes;
        float* const highest = high + map + (n + j) * kLanes;
        for (int lane = 0; lane < kLanes; ++lane) {
          const int pixel = static_cast<int>(peak[map + (n + j) * kLanes + lane]);
          depthwise_row(net, stream, pixel / width, pixel % width, 1, kTile, scratch);
          const Vec logits = logits_at<C>(net, scratch, right + j * kLanes);
          min(logits, Vec::load(lowest)).store(lowest), max(logits, Vec::load(highest)).store(highest);
        }
      }
    });
  }
}

void landmark_extremes(const Landmarks& net, int first_row, int last_row, float* scratch, float* low, float* high,
                       float* peak) {
  const FlushDenormals guard;
  const int width = net.embedding.width;
  Bounded bounded;
  for (int y = first_row; y < last_row; y += kStripRows) {
    for (int x = 0; x < width; x += kStrip) {
      const int count = width - x < kStrip ? width - x : kStrip;
      const bool pays = bounded.pays();
      for (int stream = 0, map = 0; stream < net.streams; map += net.blocks[stream++] * static_cast<int>(kLanes)) {
        if (!net.masked[stream]) continue;
        const TiledStrip strip = tiled_strip(net, stream, y, x, count, pays, scratch);
        each_panel(net, stream, [&](auto panel, int n, const float* right) {
          const int64_t at = map + n * kLanes;
          const int pixel = (y + kStripRows / 2) * width + x + kTile / 2;
          extremes_panel<decltype(panel)::vectors>(net, strip, right, pays ? &bounded : nullptr, pixel, low + at,
                                                   high + at, peak + at);
        });
      }
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
