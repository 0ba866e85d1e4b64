// Training's op (inference is engine/landmark_extremes.cpp and landmark_moments.cpp). The geometry transfer network in
// one op, forward: embedding → moments of all maps, and mask. The gradients are in
// geometry_transfer_backward.cpp.
//
// Sweep 1 finds each map's extremes. Sweep 2 has one exponential for both moments and mask. A task is a block of rows
// of one face. The sums of tasks are combined in order, so results do not depend on the number of threads.
#include "geometry_transfer.h"

#include "thread_pool.h"

namespace acdc::ACDC_ISA_NS {
namespace {

// Sweep 1 of one strip: state (4, slots) = high, its tile, low, its tile. The number of a tile of kLandmarkRows pixels
// is that of its first pixel, as a float, exact below 2²⁴. find_in_tile finds the pixel.
template <int C>
void extremes_of_strip(const float* features, int count, const float* transfer, int64_t k, float first, float* state,
                       int64_t slots) {
  Vec now[4][C];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < C; ++j) now[i][j] = Vec::load(state + i * slots + j * kLanes);
  for (int p = 0; p < count; p += kLandmarkRows) {
    const auto tile = logits_tile<C>(features, p, transfer, k);
    const Vec at = Vec::broadcast(first + static_cast<float>(p));
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      Vec top = now[0][j], bottom = now[2][j];
#pragma GCC unroll 8
      for (int i = 0; i < kLandmarkRows; ++i) top = max(tile.at[i][j], top), bottom = min(tile.at[i][j], bottom);
      now[1][j] = select(less(now[0][j], top), at, now[1][j]);
      now[3][j] = select(less(bottom, now[2][j]), at, now[3][j]);
      now[0][j] = top, now[2][j] = bottom;
    }
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < C; ++j) now[i][j].store(state + i * slots + j * kLanes);
}

// The numbers of each map for sweep 2: level = e·scale + shift with e = 2^(logit − high), both 0 if not in the mask.
enum Number { kHigh, kScale, kShift, kX, kY, kMap, kNumbers };
static_assert(kNumbers == kGeometryForwardNumbers, "the layout's share");

// Sweep 2 of one strip. sums (6, slots): e, e·dx, e·dy, e·dx², e·dx·dy, e·dy², about each map's argmax, in pixels.
// level and owner (strip, lanes): the highest level so far in each lane, and its map.
template <int C>
void moments_of_strip(const float* features, int count, const float* transfer, int64_t k, const float* table,
                      int64_t slots, float x0, float y, float* sums, float* level, float* owner) {
  float logits[C * kStripFloats];
  logits_strip<C>(features, count, transfer, k, logits);
  Vec high[C], scale[C], shift[C], centre[C], map[C], e0[C], e1[C], e2[C];
  for (int j = 0; j < C; ++j) {
    const float* t = table + j * kLanes;
    high[j] = Vec::load(t + kHigh * slots), scale[j] = Vec::load(t + kScale * slots);
    shift[j] = Vec::load(t + kShift * slots), centre[j] = Vec::load(t + kX * slots);
    map[j] = Vec::load(t + kMap * slots);
    e0[j] = e1[j] = e2[j] = Vec::zero();
  }
  for (int p = 0; p < count; ++p) {
    const Vec column = Vec::broadcast(x0 + static_cast<float>(p));
    Vec best = Vec::load(level + p * kLanes), who = Vec::load(owner + p * kLanes);
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      const Vec e = exp2_of_negative(Vec::load(logits + j * kStripFloats + p * kLanes) - high[j]);
      const Vec dx = column - centre[j], edx = e * dx;
      e0[j] += e;
      e1[j] += edx;
      e2[j] = fma(edx, dx, e2[j]);
      const Vec l = fma(e, scale[j], shift[j]);
      const Mask above = less(best, l);
      best = select(above, l, best);
      who = select(above, map[j], who);
    }
    best.store(level + p * kLanes);
    who.store(owner + p * kLanes);
  }
  for (int j = 0; j < C; ++j) {
    float* sum = sums + j * kLanes;
    const Vec dy = Vec::broadcast(y) - Vec::load(table + kY * slots + j * kLanes), ey = e0[j] * dy;
    const Vec part[6] = {e0[j], e1[j], ey, e2[j], e1[j] * dy, ey * dy};
    for (int i = 0; i < 6; ++i) (Vec::load(sum + i * slots) + part[i]).store(sum + i * slots);
  }
}

// The first pixel of a tile whose logit of one map is `value`. The logits are computed again as in sweep 1.
int32_t find_in_tile(const GeometryForward& a, const GeometryLayout& l, int64_t b, const Stream& st, int64_t slot,
                     float tile, float value, float* features) {
  const GeometryShape& s = a.shape;
  const int64_t first = static_cast<int64_t>(tile), y = first / s.width, x = first % s.width, i = &st - s.stream;
  const int count = s.width - x < kLandmarkRows ? static_cast<int>(s.width - x) : kLandmarkRows;
  const Rows in = rows_around(a.embedding + b * s.height * s.width * s.channels + st.channel, a.scratch + l.zeros, y,
                              s.height, s.width * s.channels);
  depthwise_strip(in, a.scratch + l.taps + i * 9 * s.padded, s, x, count, features);
  const int64_t panel = panel_slot(st, slot), wide = panel_floats(st, panel), vector = (slot - panel) / kLanes * kLanes;
  const float* transfer = a.scratch + l.transfer + panel * s.k + vector;
  Vec logits[kLandmarkRows];
  for (int p = 0; p < kLandmarkRows; ++p) logits[p] = Vec::zero();
  for (int64_t c = 0; c < s.k; ++c) {
    const float* f = features + c / kLanes * kStripFloats + c % kLanes;
    const Vec t = Vec::load(transfer + c * wide);
#pragma GCC unroll 8
    for (int p = 0; p < kLandmarkRows; ++p) logits[p] = fma(Vec::broadcast(f[p * kLanes]), t, logits[p]);
  }
  for (int p = 0; p < count; ++p) {
    float g[kLanes];
    logits[p].store(g);
    if (g[(slot - panel) % kLanes] == value) return static_cast<int32_t>(first + p);
  }
  return static_cast<int32_t>(first);  // all are NaN
}

// The extremes of one face's maps from those of its blocks, and the numbers for sweep 2.
void collect_extremes(const GeometryForward& a, const GeometryLayout& layout, int64_t b, const float* partial,
                      float* table, float* features) {
  const GeometryShape& s = a.shape;
  fill(table, kNumbers * s.slots, 0.f);
  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t m = 0; m < st.maps; ++m) {
      const int64_t slot = st.slot + m, l = st.map + m, at = b * s.maps + l;
      const float* state = partial + slot;
      float top = state[0], top_tile = state[s.slots], bottom = state[2 * s.slots], bottom_tile = state[3 * s.slots];
      for (int64_t j = 1; j < s.blocks; ++j) {
        state += 6 * s.slots;
        if (top < state[0]) top = state[0], top_tile = state[s.slots];
        if (state[2 * s.slots] < bottom) bottom = state[2 * s.slots], bottom_tile = state[3 * s.slots];
      }
      a.maps.high[at] = top, a.maps.low[at] = bottom;
      a.maps.argmax[at] = find_in_tile(a, layout, b, st, slot, top_tile, top, features);
      a.maps.argmin[at] = find_in_tile(a, layout, b, st, slot, bottom_tile, bottom, features);
      const float floor = floor_of(bottom, top);
      const bool used = a.masked[l] && floor < 1.f;  // a constant map has floor 1 and contributes 0
      const float values[kNumbers] = {top,
                                      used ? 1.f / (1.f - floor) : 0.f,
                                      used ? -floor / (1.f - floor) : 0.f,
                                      static_cast<float>(a.maps.argmax[at] % s.width),
                                      static_cast<float>(a.maps.argmax[at] / s.width),
                                      static_cast<float>(l)};
      for (int c = 0; c < kNumbers; ++c) table[c * s.slots + slot] = values[c];
    }
  }
}

// Sums of one face's blocks → mean, covariance, peak.
void finish_moments(const GeometryForward& a, int64_t b, const float* partial) {
  const GeometryShape& s = a.shape;
  const double w = static_cast<double>(s.width), h = static_cast<double>(s.height);
  for (int i = 0; i < s.streams; ++i) {
    for (int64_t m = 0; m < s.stream[i].maps; ++m) {
      const int64_t at = b * s.maps + s.stream[i].map + m;
      double sum[6] = {0, 0, 0, 0, 0, 0};
      for (int64_t j = 0; j < s.blocks; ++j)
        for (int c = 0; c < 6; ++c) sum[c] += partial[(j * 6 + c) * s.slots + s.stream[i].slot + m];
      const double dx = sum[1] / sum[0], dy = sum[2] / sum[0];
      a.maps.mean[2 * at] = static_cast<float>((a.maps.argmax[at] % s.width + dx + 0.5) / w);
      a.maps.mean[2 * at + 1] = static_cast<float>((a.maps.argmax[at] / s.width + dy + 0.5) / h);
      a.maps.covariance[3 * at] = static_cast<float>((sum[3] / sum[0] - dx * dx) / (w * w));
      a.maps.covariance[3 * at + 1] = static_cast<float>((sum[4] / sum[0] - dx * dy) / (w * h));
      a.maps.covariance[3 * at + 2] = static_cast<float>((sum[5] / sum[0] - dy * dy) / (h * h));
      a.maps.peak[at] = static_cast<float>(1.0 / sum[0]);
    }
  }
}

}  // namespace

void geometry_transfer_forward(const GeometryForward& a) {
  const GeometryShape& s = a.shape;
  const GeometryLayout layout = geometry_forward_layout(s);
  pack_geometry(s, layout, a.depthwise, a.transfer, a.scratch);
  const int64_t row = s.width * s.channels, face = s.height * row, slots = s.slots;
  const float *panels = a.scratch + layout.transfer, *zeros = a.scratch + layout.zeros;
  float *partial = a.scratch + layout.partial, *table = a.scratch + layout.table;

  // Calls body(stream, the strip's first column, count) for each strip of row y, after its features are computed.
  auto each_strip = [&](int64_t b, int64_t y, float* features, auto body) {
    for (int64_t x = 0; x < s.width; x += kStrip) {
      const int count = s.width - x < kStrip ? static_cast<int>(s.width - x) : kStrip;
      for (int i = 0; i < s.streams; ++i) {
        const Rows in = rows_around(a.embedding + b * face + s.stream[i].channel, zeros, y, s.height, row);
        depthwise_strip(in, a.scratch + layout.taps + i * 9 * s.padded, s, x, count, features);
        body(i, x, count);
      }
    }
  };

  auto extremes = [&](int64_t task, int thread) {
    const FlushDenormals guard;
    const Block block = block_of(s, task);
    float *features = a.scratch + layout.per_thread + thread * layout.thread_floats,
          *state = partial + task * 6 * slots;
    const float start = static_cast<float>(block.first * s.width);
    fill(state, slots, -__builtin_inff()), fill(state + slots, slots, start);
    fill(state + 2 * slots, slots, __builtin_inff()), fill(state + 3 * slots, slots, start);
    for (int64_t y = block.first; y < block.last; ++y) {
      each_strip(block.b, y, features, [&](int i, int64_t x, int count) {
        each_panel(s.stream[i], [&](int64_t slot, auto vectors) {
          extremes_of_strip<vectors.count>(features, count, panels + slot * s.k, s.k,
                                           static_cast<float>(y * s.width + x), state + slot, slots);
        });
      });
    }
  };
  parallel_for(s.tasks(), s.threads, extremes);

  auto collect = [&](int64_t b, int thread) {
    const FlushDenormals guard;
    collect_extremes(a, layout, b, partial + b * s.blocks * 6 * slots, table + b * kNumbers * slots,
                     a.scratch + layout.per_thread + thread * layout.thread_floats);
  };
  parallel_for(s.batch, s.threads, collect);

  auto moments = [&](int64_t task, int thread) {
    const FlushDenormals guard;
    const Block block = block_of(s, task);
    float* features = a.scratch + layout.per_thread + thread * layout.thread_floats;
    float *level = features + kStrip * s.padded, *owner = level + kStripFloats, *sums = partial + task * 6 * slots;
    const float* numbers = table + block.b * kNumbers * slots;
    fill(sums, 6 * slots, 0.f);
    for (int64_t y = block.first; y < block.last; ++y) {
      each_strip(block.b, y, features, [&](int i, int64_t x, int count) {
        if (i == 0) fill(level, kStripFloats, 0.f), fill(owner, kStripFloats, -1.f);
        each_panel(s.stream[i], [&](int64_t slot, auto vectors) {
          moments_of_strip<vectors.count>(features, count, panels + slot * s.k, s.k, numbers + slot, slots,
                                          static_cast<float>(x), static_cast<float>(y), sums + slot, level, owner);
        });
        if (i + 1 < s.streams) return;
        const int64_t at = (block.b * s.height + y) * s.width + x;
        for (int p = 0; p < count; ++p) {
          const Vec best = Vec::load(level + p * kLanes), who = Vec::load(owner + p * kLanes);
          const float top = reduce_max(best);
          const Mask holds = equal(best, Vec::broadcast(top));
          const float map = reduce_min(select(holds, who, Vec::broadcast(__builtin_inff())));
          a.mask[at + p] = top;
          a.winner[at + p] = top > 0.f ? static_cast<int32_t>(map) : -1;
        }
      });
    }
  };
  parallel_for(s.tasks(), s.threads, moments);

  auto finish = [&](int64_t b, int) { finish_moments(a, b, partial + b * s.blocks * 6 * slots); };
  parallel_for(s.batch, s.threads, finish);
}

}  // namespace acdc::ACDC_ISA_NS
