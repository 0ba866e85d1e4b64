// Gradients of the geometry transfer network: moments and mask → embedding, depthwise taps, transfer.
//
// One sweep computes dG strip by strip, and uses it at once for dD = dG·T and dT = dGᵀ·D. The backward of the depthwise
// convolution follows. The gradient of the moments is dense, but only panels of maps that have one are computed: a
// batch often labels few markups. The gradient of the mask is sparse: one map for each pixel, and two pixels for each
// map. A task is a block of rows of one face. The sums of tasks are combined in order, so results do not depend on the
// number of threads.
#include "geometry_transfer.h"
#include "thread_pool.h"

namespace acdc::ACDC_ISA_NS {
namespace {

// The numbers of each map: dG = e·(c₀ + c₁·dx + c₂·dx²) about its mean, where c₀ and c₁ are polynomials in dy. All are
// multiplied by the peak. Lanes without a map are 0.
enum Number { kHigh, kMeanX, kMeanY, kConstant, kGradX, kGradY, kGradXX, kGradXY, kGradYY, kNumbers };
static_assert(kNumbers == kGeometryBackwardNumbers, "the layout's share");

// A gradient of one map at one pixel: twelve bytes. The layout has room for two of each map.
struct Spike {
  int32_t map, pixel;
  float value;
};

// dG of one strip's moments: [vector][kStrip][lanes]. After `count` follow zeros up to a whole tile of
// add_grad_features. `table` begins at the panel's first slot.
template <int C>
void grad_logits_of_strip(const float* features, int count, const float* transfer, const GeometryShape& s,
                          const float* table, float x0, float y, float* grad) {
  logits_strip<C>(features, count, transfer, s.k, grad);
  Vec high[C], centre[C], c0[C], c1[C], c2[C];
  for (int j = 0; j < C; ++j) {
    const float* t = table + j * kLanes;
    const int64_t z = s.slots;
    const Vec dy = Vec::broadcast(y) - Vec::load(t + kMeanY * z);
    high[j] = Vec::load(t + kHigh * z);
    centre[j] = Vec::load(t + kMeanX * z);
    c0[j] = fma(dy, fma(dy, Vec::load(t + kGradYY * z), Vec::load(t + kGradY * z)), Vec::load(t + kConstant * z));
    c1[j] = fma(dy, Vec::load(t + kGradXY * z), Vec::load(t + kGradX * z));
    c2[j] = Vec::load(t + kGradXX * z);
  }
  const float step = 1.f / static_cast<float>(s.width);
  for (int p = 0; p < count; ++p) {
    const Vec column = Vec::broadcast((x0 + static_cast<float>(p) + 0.5f) * step);
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) {
      float* at = grad + j * kStripFloats + p * kLanes;
      const Vec dx = column - centre[j];
      (exp2_of_negative(Vec::load(at) - high[j]) * fma(dx, fma(dx, c2[j], c1[j]), c0[j])).store(at);
    }
  }
  for (int p = count; p % (2 * kLandmarkRows); ++p)
    for (int j = 0; j < C; ++j) Vec::zero().store(grad + j * kStripFloats + p * kLanes);
}

// dD (K/lanes, kStrip, lanes) += dG·T for one panel. `rows` (K/lanes, slots, lanes) begins at its first slot.
void add_grad_features(const float* grad, int count, int maps, const float* rows, const GeometryShape& s, float* out) {
  constexpr int kRowsOfTile = 2 * kLandmarkRows;
  static_assert(kStrip % kRowsOfTile == 0, "whole tiles");
  for (int64_t c = 0; c < s.padded; c += kLanes, rows += s.slots * kLanes, out += kStripFloats) {
    for (int p = 0; p < count; p += kRowsOfTile) {
      Tile<kRowsOfTile, 1> tile;
      multiply(tile, grad + p * kLanes, kStripFloats, rows, maps);
#pragma GCC unroll 16
      for (int i = 0; i < kRowsOfTile; ++i) {
        float* at = out + (p + i) * kLanes;
        (Vec::load(at) + tile.at[i][0]).store(at);
      }
    }
  }
}

// out (K, C·lanes) += Dᵀ·dG for N channels from c on.
template <int N, int C>
ACDC_INLINE void add_grad_transfer_of(const float* features, const float* grad, int count, int64_t c, float* out) {
  const float* f[N];
  Vec sum[N][C];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    f[i] = features + (c + i) / kLanes * kStripFloats + (c + i) % kLanes;
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) sum[i][j] = Vec::load(out + ((c + i) * C + j) * kLanes);
  }
  for (int p = 0; p < count; ++p) {
    Vec d[C];
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) d[j] = Vec::load(grad + j * kStripFloats + p * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      const Vec x = Vec::broadcast(f[i][p * kLanes]);
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) sum[i][j] = fma(x, d[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < C; ++j) sum[i][j].store(out + ((c + i) * C + j) * kLanes);
  }
}

template <int C>
void add_grad_transfer(const float* features, const float* grad, int count, int64_t k, float* out) {
  constexpr int kChannels = kLanes == 16 ? 6 : 4;  // what fits the registers, with C vectors each
  int64_t c = 0;
  for (; c + kChannels <= k; c += kChannels) add_grad_transfer_of<kChannels, C>(features, grad, count, c, out);
  for (; c < k; ++c) add_grad_transfer_of<1, C>(features, grad, count, c, out);
}

// A gradient of one map at one pixel: adds value·T to the pixel's features, and value·D to the map's row of dT
// (padded).
ACDC_INLINE void add_spike(float value, const float* features, const float* rows, const GeometryShape& s,
                           float* grad_features, float* grad_row) {
  const Vec v = Vec::broadcast(value);
  for (int64_t c = 0; c < s.padded; c += kLanes, rows += s.slots * kLanes) {
    const int64_t at = c * kStrip;  // of this block of channels
    fma(v, Vec::load(rows), Vec::load(grad_features + at)).store(grad_features + at);
    fma(v, Vec::load(features + at), Vec::load(grad_row + c)).store(grad_row + c);
  }
}

ACDC_INLINE bool of_stream(const Stream& st, int64_t map) { return map >= st.map && map < st.map + st.maps; }

// The tables that all tasks of one face read.
struct FaceTables {
  float *numbers, *rise, *at_argmax, *at_argmin, *active;
};

FaceTables tables_of(const GeometryShape& s, const GeometryLayout& l, float* scratch, int64_t b) {
  float* spikes = scratch + l.spikes + b * 3 * s.maps;
  return {scratch + l.table + b * kNumbers * s.slots, spikes, spikes + s.maps, spikes + 2 * s.maps,
          scratch + l.active + b * (s.slots / kLanes)};
}

// The numbers of one face's maps, which panels have a gradient, and the gradients of mask and peak at the extreme
// pixels.
void prepare_face(const GeometryBackward& a, int64_t b, const FaceTables& t) {
  const GeometryShape& s = a.shape;
  const int64_t pixels = s.height * s.width;
  fill(t.numbers, kNumbers * s.slots, 0.f);
  fill(t.active, s.slots / kLanes, 0.f);
  for (int64_t l = 0; l < s.maps; ++l)
    t.rise[l] = rise_of(floor_of(a.maps.low[b * s.maps + l], a.maps.high[b * s.maps + l]));
  mask_spikes(a.grad_mask + b * pixels, a.mask + b * pixels, a.winner + b * pixels, pixels, t.rise, s.maps, t.at_argmax,
              t.at_argmin);
  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t m = 0; m < st.maps; ++m) {
      const int64_t l = st.map + m, at = b * s.maps + l;
      const float *gm = a.grad_mean + 2 * at, *gc = a.grad_covariance + 3 * at, *cov = a.maps.covariance + 3 * at;
      const float gp = a.grad_peak[at], peak = a.maps.peak[at], spike = gp * peak;
      if (!(gm[0] == 0 && gm[1] == 0 && gc[0] == 0 && gc[1] == 0 && gc[2] == 0 && gp == 0))  // a NaN is no zero
        t.active[panel_slot(st, st.slot + m) / kLanes] = 1;
      t.at_argmax[l] += spike;
      const float values[kNumbers] = {a.maps.high[at],
                                      a.maps.mean[2 * at],
                                      a.maps.mean[2 * at + 1],
                                      -peak * (gc[0] * cov[0] + gc[1] * cov[1] + gc[2] * cov[2] + spike),
                                      peak * gm[0],
                                      peak * gm[1],
                                      peak * gc[0],
                                      peak * gc[1],
                                      peak * gc[2]};
      for (int c = 0; c < kNumbers; ++c) t.numbers[c * s.slots + st.slot + m] = values[c];
    }
  }
}

// Collects the gradients at extreme pixels within [first, last). Returns their number.
int64_t collect_spikes(const GeometryBackward& a, const FaceTables& t, int64_t b, int64_t first, int64_t last,
                       Spike* out) {
  int64_t count = 0;
  auto add = [&](int64_t l, int32_t pixel, float value) {
    if (pixel >= first && pixel < last && value != 0) out[count++] = {static_cast<int32_t>(l), pixel, value};
  };
  for (int64_t l = 0; l < a.shape.maps; ++l) {
    add(l, a.maps.argmax[b * a.shape.maps + l], t.at_argmax[l]);
    add(l, a.maps.argmin[b * a.shape.maps + l], t.at_argmin[l]);
  }
  return count;
}

// Adds the gradient of the features to one row of grad_embedding, and that row's gradient of the taps (K/lanes, 9,
// lanes) to sums. `grad` are rows (W, padded) of the features' gradient.
void depthwise_backward_row(const Rows& grad, const Rows& in, const float* taps, const GeometryShape& s,
                            float* grad_embedding, float* sums) {
  const int64_t w = s.width, k = s.padded;
  for (int64_t c = 0; c < s.k; c += kLanes, taps += 9 * kLanes, sums += 9 * kLanes) {
    const int n = s.k - c < kLanes ? static_cast<int>(s.k - c) : kLanes;
    Vec t[9], sum[9];
    for (int i = 0; i < 9; ++i) t[i] = Vec::load(taps + i * kLanes), sum[i] = Vec::load(sums + i * kLanes);
    for (int64_t x = 0; x < w; ++x) {
      float* out = grad_embedding + x * s.channels + c;
      const Vec d = Vec::load(grad.row[1] + x * k + c);
      Vec g = Vec::load(out, n);
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const float *dp = grad.row[2 - i] + x * k + c, *hp = in.row[i] + x * s.channels + c;
        if (x + 1 < w) {
          g = fma(Vec::load(dp + k), t[3 * i], g);
          sum[3 * i + 2] = fma(d, Vec::load(hp + s.channels, n), sum[3 * i + 2]);
        }
        g = fma(Vec::load(dp), t[3 * i + 1], g);
        sum[3 * i + 1] = fma(d, Vec::load(hp, n), sum[3 * i + 1]);
        if (x > 0) {
          g = fma(Vec::load(dp - k), t[3 * i + 2], g);
          sum[3 * i] = fma(d, Vec::load(hp - s.channels, n), sum[3 * i]);
        }
      }
      g.store(out, n);
    }
    for (int i = 0; i < 9; ++i) sum[i].store(sums + i * kLanes);
  }
}

// Adds up the tasks' partial sums in order, and separates them into the gradients of transfer and depthwise.
void finish_weights(const GeometryBackward& a, const GeometryLayout& l) {
  const GeometryShape& s = a.shape;
  const float* partial = a.scratch + l.partial;
  double* sums = reinterpret_cast<double*>(a.scratch + l.sums);
  for (int64_t i = 0; i < l.partial_floats; ++i) sums[i] = 0;
  for (int64_t j = 0; j < s.tasks(); ++j, partial += l.partial_floats)
    for (int64_t i = 0; i < l.partial_floats; ++i) sums[i] += partial[i];
  const double *of_maps = sums + s.k * s.slots, *of_taps = of_maps + s.maps * s.padded;
  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t m = 0; m < st.maps; ++m) {
      const int64_t first = panel_slot(st, st.slot + m), wide = panel_floats(st, first), map = st.map + m;
      const double* of_panel = sums + first * s.k + st.slot + m - first;
      for (int64_t c = 0; c < s.k; ++c)
        a.grad_transfer[map * s.k + c] = static_cast<float>(of_panel[c * wide] + of_maps[map * s.padded + c]);
    }
    for (int64_t c = 0; c < s.k; ++c) {
      const double* from = of_taps + (i * s.padded + c / kLanes * kLanes) * 9 + c % kLanes;
      for (int t = 0; t < 9; ++t) a.grad_depthwise[(i * s.k + c) * 9 + t] = static_cast<float>(from[t * kLanes]);
    }
  }
}

}  // namespace

void geometry_transfer_backward(const GeometryBackward& a) {
  const GeometryShape& s = a.shape;
  const GeometryLayout layout = geometry_backward_layout(s);
  pack_geometry(s, layout, a.depthwise, a.transfer, a.scratch);
  const int64_t row = s.width * s.channels, face = s.height * row, pixels = s.height * s.width;
  const float *panels = a.scratch + layout.transfer, *taps = a.scratch + layout.taps, *zeros = a.scratch + layout.zeros;
  float *rows = a.scratch + layout.rows, *grad_features = a.scratch + layout.grad_features;
  fill(rows, s.slots * s.padded, 0.f);
  for (int i = 0; i < s.streams; ++i) {
    for (int64_t m = 0; m < s.stream[i].maps; ++m) {
      const float* from = a.transfer + (s.stream[i].map + m) * s.k;
      for (int64_t c = 0; c < s.k; ++c)
        rows[(c / kLanes * s.slots + s.stream[i].slot + m) * kLanes + c % kLanes] = from[c];
    }
  }

  auto prepare = [&](int64_t b, int) { prepare_face(a, b, tables_of(s, layout, a.scratch, b)); };
  parallel_for(s.batch, s.threads, prepare);

  auto sweep = [&](int64_t task, int thread) {
    const FlushDenormals guard;
    const Block block = block_of(s, task);
    const FaceTables t = tables_of(s, layout, a.scratch, block.b);
    float* features = a.scratch + layout.per_thread + thread * layout.thread_floats;  // (K/lanes, strip, lanes)
    float* grad_out = features + kStrip * s.padded;                                   // dD, the same
    float* grad = grad_out + kStrip * s.padded;                                       // dG of a panel
    Spike* spikes = reinterpret_cast<Spike*>(grad + kLandmarkPanel * kStripFloats);   // the task's, then one row's
    Spike* here = spikes + 2 * s.maps;
    const int64_t spike_count = collect_spikes(a, t, block.b, block.first * s.width, block.last * s.width, spikes);
    float *sums = a.scratch + layout.partial + task * layout.partial_floats, *map_sums = sums + s.k * s.slots;
    fill(sums, s.k * s.slots + s.maps * s.padded, 0.f);
    for (int64_t y = block.first; y < block.last; ++y) {
      int64_t here_count = 0;
      for (int64_t j = 0; j < spike_count; ++j)
        if (spikes[j].pixel >= y * s.width && spikes[j].pixel < (y + 1) * s.width) here[here_count++] = spikes[j];
      const float line = (static_cast<float>(y) + 0.5f) / static_cast<float>(s.height);
      for (int64_t x = 0; x < s.width; x += kStrip) {
        const int count = s.width - x < kStrip ? static_cast<int>(s.width - x) : kStrip;
        const int64_t pixel = y * s.width + x, at = block.b * pixels + pixel;
        for (int i = 0; i < s.streams; ++i) {
          const Stream& st = s.stream[i];
          const Rows in = rows_around(a.embedding + block.b * face + st.channel, zeros, y, s.height, row);
          depthwise_strip(in, taps + i * 9 * s.padded, s, x, count, features);
          fill(grad_out, kStrip * s.padded, 0.f);
          each_panel(st, [&](int64_t slot, auto vectors) {
            constexpr int C = vectors.count;
            if (t.active[slot / kLanes] == 0) return;
            grad_logits_of_strip<C>(features, count, panels + slot * s.k, s, t.numbers + slot, static_cast<float>(x),
                                    line, grad);
            for (int64_t j = 0; j < here_count;
                 ++j) {  // before the products, because dense and single parts may cancel
              const int64_t lane = st.slot + here[j].map - st.map - slot, p = here[j].pixel - pixel;
              if (lane >= 0 && lane < C * kLanes && p >= 0 && p < count && of_stream(st, here[j].map))
                grad[lane / kLanes * kStripFloats + p * kLanes + lane % kLanes] += here[j].value;
            }
            add_grad_features(grad, count, C * kLanes, rows + slot * kLanes, s, grad_out);
            add_grad_transfer<C>(features, grad, count, s.k, sums + slot * s.k);
          });
          auto spike = [&](int64_t l, int64_t p, float value) {
            if (value == 0) return;
            add_spike(value, features + p * kLanes, rows + (st.slot + l - st.map) * kLanes, s, grad_out + p * kLanes,
                      map_sums + l * s.padded);
          };
          for (int p = 0; p < count; ++p) {
            const int64_t l = a.winner[at + p];
            if (of_stream(st, l)) spike(l, p, a.grad_mask[at + p] * (a.mask[at + p] + t.rise[l]));
          }
          for (int64_t j = 0; j < here_count; ++j) {
            const int64_t l = here[j].map, p = here[j].pixel - pixel;
            if (!of_stream(st, l) || p < 0 || p >= count) continue;
            if (t.active[panel_slot(st, st.slot + l - st.map) / kLanes] == 0) spike(l, p, here[j].value);
          }
          float* out = grad_features + ((i * s.batch + block.b) * pixels + pixel) * s.padded;
          for (int64_t c = 0; c < s.padded; c += kLanes)
            for (int p = 0; p < count; ++p) Vec::load(grad_out + c * kStrip + p * kLanes).store(out + p * s.padded + c);
        }
      }
    }
  };
  parallel_for(s.tasks(), s.threads, sweep);

  auto depthwise_back = [&](int64_t task, int) {
    const FlushDenormals guard;
    const Block block = block_of(s, task);
    const int64_t of_maps = s.k * s.slots + s.maps * s.padded;
    float* sums = a.scratch + layout.partial + task * layout.partial_floats + of_maps;
    float* out = a.grad_embedding + block.b * face;
    fill(sums, s.streams * 9 * s.padded, 0.f);
    fill(out + block.first * row, (block.last - block.first) * row, 0.f);
    for (int64_t y = block.first; y < block.last; ++y) {
      for (int i = 0; i < s.streams; ++i) {
        const int64_t c = s.stream[i].channel, at = i * 9 * s.padded;
        const float* grad = grad_features + (i * s.batch + block.b) * pixels * s.padded;
        depthwise_backward_row(rows_around(grad, zeros, y, s.height, s.width * s.padded),
                               rows_around(a.embedding + block.b * face + c, zeros, y, s.height, row), taps + at, s,
                               out + y * row + c, sums + at);
      }
    }
  };
  parallel_for(s.tasks(), s.threads, depthwise_back);
  finish_weights(a, layout);
}

}  // namespace acdc::ACDC_ISA_NS
