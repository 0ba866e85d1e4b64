// The geometry transfer network in one op: embedding → moments of all maps and mask, forward and backward.
//
// Logits are G(p) = T·D(p), D the depthwise features of pixel p, at most 48 numbers. They are cheaper to compute again
// than to store, so each sweep over the pixels recomputes them: maps lie in the lanes of vectors, pixels are broadcast.
// Forward: sweep 1 finds each map's extremes, sweep 2 has one exponential for the moments and the mask. Backward: one
// sweep gives dG in tiles of a few pixels, which go into dD = dG·T and dT = dGᵀ·D at once; the depthwise convolution's
// own backward follows. A task is a block of rows of one face; tasks' sums are combined in order, so that results do not
// depend on the number of threads.
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;
constexpr int kTile = 16;  // pixels whose dG is held at once, in the first-level cache

// The rows y − 1, y, y + 1 of an image; those outside are rows of zeros.
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

// out (W, K) = depthwise 3×3 of the stream's channels at one row; taps (9, K).
void depthwise_row(const Rows& in, const float* taps, int64_t width, int64_t channels, int64_t k, float* out) {
  for (int64_t c = 0; c < k; c += kLanes) {
    const int n = k - c < kLanes ? static_cast<int>(k - c) : kLanes;
    Vec t[9];
    for (int i = 0; i < 9; ++i) t[i] = Vec::load(taps + i * k + c, n);
    for (int64_t x = 0; x < width; ++x) {
      Vec sum = Vec::zero();
      for (int i = 0; i < 3; ++i) {
        const float* p = in.row[i] + x * channels + c;
        if (x > 0) sum = fma(Vec::load(p - channels, n), t[3 * i], sum);
        sum = fma(Vec::load(p, n), t[3 * i + 1], sum);
        if (x + 1 < width) sum = fma(Vec::load(p + channels, n), t[3 * i + 2], sum);
      }
      sum.store(out + x * k + c, n);
    }
  }
}

// Logits of P pixels and V vectors of maps: features (P, K), transposed transfer (K, slots) at the first of these maps.
template <int P, int V>
ACDC_INLINE void logits_of(const float* features, const float* transfer, int64_t k, int64_t slots, Vec (&g)[P][V]) {
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < V; ++v) g[p][v] = Vec::zero();
  for (int64_t i = 0; i < k; ++i) {
    Vec t[V];
    for (int v = 0; v < V; ++v) t[v] = Vec::load(transfer + i * slots + v * kLanes);
    for (int p = 0; p < P; ++p) {
      const Vec f = Vec::broadcast(features[p * k + i]);
      for (int v = 0; v < V; ++v) g[p][v] = fma(f, t[v], g[p][v]);
    }
  }
}

// use(x, logits of V vectors) for each of n pixels of a row.
template <int V, class Use>
ACDC_INLINE void sweep(const float* features, int64_t n, const float* transfer, int64_t k, int64_t slots, Use& use) {
  int64_t x = 0;
  for (; x + 4 <= n; x += 4) {
    Vec g[4][V];
    logits_of<4, V>(features + x * k, transfer, k, slots, g);
    for (int p = 0; p < 4; ++p) use(x + p, g[p]);
  }
  for (; x < n; ++x) {
    Vec g[1][V];
    logits_of<1, V>(features + x * k, transfer, k, slots, g);
    use(x, g[0]);
  }
}

// Arrays of `slots` floats inside the scratch memory.
struct Packed {
  float* taps;      // (S, 9, K)
  float* transfer;  // (K, slots), lanes without a map 0
  float* zeros;     // a row of zeros, W · max(C, K)
  float* end;
};

Packed pack(const GeometryShape& s, const float* depthwise, const float* transfer, float* scratch) {
  Packed p;
  const int64_t widest = s.channels > s.k ? s.channels : s.k;
  p.transfer = scratch;
  p.taps = p.transfer + s.k * s.slots;
  p.zeros = p.taps + s.streams * 9 * s.k;
  p.end = p.zeros + s.width * widest;
  p.end += (64 - (p.end - scratch) % 64) % 64;
  fill(p.transfer, s.k * s.slots, 0.f);
  fill(p.zeros, s.width * widest, 0.f);
  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t c = 0; c < s.k; ++c) {
      for (int t = 0; t < 9; ++t) p.taps[(i * 9 + t) * s.k + c] = depthwise[(i * s.k + c) * 9 + t];
      for (int64_t m = 0; m < st.maps; ++m)
        p.transfer[c * s.slots + st.slot + m] = transfer[(st.map + m) * s.k + c];
    }
  }
  return p;
}

// Sweep 1 of one row: state (4, slots) = high, argmax, low, argmin; pixels as floats, exact below 2²⁴.
template <int V>
ACDC_INLINE void extremes_of_row(const float* features, const GeometryShape& s, const float* transfer, float first,
                                 float* state) {
  Vec high[V], argmax[V], low[V], argmin[V];
  for (int v = 0; v < V; ++v) {
    high[v] = Vec::load(state + v * kLanes);
    argmax[v] = Vec::load(state + s.slots + v * kLanes);
    low[v] = Vec::load(state + 2 * s.slots + v * kLanes);
    argmin[v] = Vec::load(state + 3 * s.slots + v * kLanes);
  }
  auto use = [&](int64_t x, const Vec(&g)[V]) __attribute__((always_inline)) {
    const Vec pixel = Vec::broadcast(first + static_cast<float>(x));
    for (int v = 0; v < V; ++v) {
      const Mask above = less(high[v], g[v]), below = less(g[v], low[v]);
      high[v] = select(above, g[v], high[v]);
      argmax[v] = select(above, pixel, argmax[v]);
      low[v] = select(below, g[v], low[v]);
      argmin[v] = select(below, pixel, argmin[v]);
    }
  };
  sweep<V>(features, s.width, transfer, s.k, s.slots, use);
  for (int v = 0; v < V; ++v) {
    high[v].store(state + v * kLanes);
    argmax[v].store(state + s.slots + v * kLanes);
    low[v].store(state + 2 * s.slots + v * kLanes);
    argmin[v].store(state + 3 * s.slots + v * kLanes);
  }
}

// Per-slot numbers of one face that sweep 2 needs.
struct SlotTable {
  const float *high, *floor, *scale, *x, *y, *map;  // floor = exp(low − high); scale = 1/(1 − floor), 0: not in the mask
};

// Sweep 2 of one row: sums (6, slots) of e, e·dx, e·dy, e·dx², e·dx·dy, e·dy² about each map's argmax, in pixels; level
// and owner (W, lanes): the highest level so far in each lane, and its map.
template <int V>
ACDC_INLINE void moments_of_row(const float* features, const GeometryShape& s, const float* transfer, SlotTable t,
                                int64_t slot, float y, float* sums, float* level, float* owner) {
  Vec high[V], floor[V], scale[V], centre[V], map[V], e0[V], e1[V], e2[V];
  for (int v = 0; v < V; ++v) {
    const int64_t at = slot + v * kLanes;
    high[v] = Vec::load(t.high + at), floor[v] = Vec::load(t.floor + at), scale[v] = Vec::load(t.scale + at);
    centre[v] = Vec::load(t.x + at), map[v] = Vec::load(t.map + at);
    e0[v] = e1[v] = e2[v] = Vec::zero();
  }
  auto use = [&](int64_t x, const Vec(&g)[V]) __attribute__((always_inline)) {
    const Vec column = Vec::broadcast(static_cast<float>(x));
    Vec best = Vec::load(level + x * kLanes), who = Vec::load(owner + x * kLanes);
    for (int v = 0; v < V; ++v) {
      const Vec e = exp(g[v] - high[v]), dx = column - centre[v], edx = e * dx;
      e0[v] += e;
      e1[v] += edx;
      e2[v] = fma(edx, dx, e2[v]);
      const Vec l = (e - floor[v]) * scale[v];
      const Mask above = less(best, l);
      best = select(above, l, best);
      who = select(above, map[v], who);
    }
    best.store(level + x * kLanes);
    who.store(owner + x * kLanes);
  };
  sweep<V>(features, s.width, transfer + slot, s.k, s.slots, use);
  for (int v = 0; v < V; ++v) {
    float* sum = sums + slot + v * kLanes;
    const Vec dy = Vec::broadcast(y) - Vec::load(t.y + slot + v * kLanes), ey = e0[v] * dy;
    const Vec part[6] = {e0[v], e1[v], ey, e2[v], e1[v] * dy, ey * dy};
    for (int i = 0; i < 6; ++i) (Vec::load(sum + i * s.slots) + part[i]).store(sum + i * s.slots);
  }
}

}  // namespace

void geometry_transfer_forward(const GeometryForward& a) {
  const GeometryShape& s = a.shape;
  const int64_t face = s.height * s.width * s.channels, row = s.width * s.channels, pixels = s.height * s.width;
  const int64_t tasks = s.batch * s.blocks, slots = s.slots;
  const Packed packed = pack(s, a.depthwise, a.transfer, a.scratch);
  float* partial = packed.end;                     // (tasks, 6, slots)
  float* table = partial + tasks * 6 * slots;      // (B, 6, slots), as SlotTable
  float* per_thread = table + s.batch * 6 * slots;  // (threads, W·(K + 2·lanes))
  const int64_t thread_floats = s.width * (s.k + 2 * kLanes);

  auto extremes = [&](int64_t task, int slot) {
    const int64_t b = task / s.blocks, first = task % s.blocks * s.block_rows;
    const int64_t last = first + s.block_rows < s.height ? first + s.block_rows : s.height;
    float* features = per_thread + slot * thread_floats;
    float* state = partial + task * 6 * slots;
    fill(state, slots, -__builtin_inff());
    fill(state + slots, slots, static_cast<float>(first * s.width));
    fill(state + 2 * slots, slots, __builtin_inff());
    fill(state + 3 * slots, slots, static_cast<float>(first * s.width));
    for (int64_t y = first; y < last; ++y) {
      for (int i = 0; i < s.streams; ++i) {
        const Stream& st = s.stream[i];
        const Rows in = rows_around(a.embedding + b * face + st.channel, packed.zeros, y, s.height, row);
        depthwise_row(in, packed.taps + i * 9 * s.k, s.width, s.channels, s.k, features);
        const float origin = static_cast<float>(y * s.width);
        int64_t at = st.slot;
        const int64_t end = st.slot + st.slots;
        for (; at + 2 * kLanes <= end; at += 2 * kLanes)
          extremes_of_row<2>(features, s, packed.transfer + at, origin, state + at);
        for (; at < end; at += kLanes) extremes_of_row<1>(features, s, packed.transfer + at, origin, state + at);
      }
    }
  };
  parallel_for(tasks, s.threads, extremes);

  auto collect = [&](int64_t b, int) {
    float* t = table + b * 6 * slots;
    float *high = t, *floor = t + slots, *scale = t + 2 * slots, *x = t + 3 * slots, *y = t + 4 * slots;
    float* map = t + 5 * slots;
    fill(t, 6 * slots, 0.f);
    for (int i = 0; i < s.streams; ++i) {
      for (int64_t m = 0; m < s.stream[i].maps; ++m) {
        const int64_t slot = s.stream[i].slot + m, l = s.stream[i].map + m, at = b * s.maps + l;
        const float* state = partial + b * s.blocks * 6 * slots + slot;
        float top = state[0], top_at = state[slots], bottom = state[2 * slots], bottom_at = state[3 * slots];
        for (int64_t j = 1; j < s.blocks; ++j) {
          state += 6 * slots;
          if (top < state[0]) top = state[0], top_at = state[slots];
          if (state[2 * slots] < bottom) bottom = state[2 * slots], bottom_at = state[3 * slots];
        }
        a.maps.high[at] = high[slot] = top;
        a.maps.low[at] = bottom;
        a.maps.argmax[at] = static_cast<int32_t>(top_at);
        a.maps.argmin[at] = static_cast<int32_t>(bottom_at);
        x[slot] = static_cast<float>(a.maps.argmax[at] % s.width);
        y[slot] = static_cast<float>(a.maps.argmax[at] / s.width);
        map[slot] = static_cast<float>(l);
        if (a.masked[l]) {
          float rise[kLanes];  // the sweep's own exponential, so that the lowest pixel's level is exactly 0
          exp(Vec::broadcast(bottom - top)).store(rise);
          floor[slot] = rise[0];
          scale[slot] = rise[0] < 1.f ? 1.f / (1.f - rise[0]) : 0.f;
        }
      }
    }
  };
  parallel_for(s.batch, s.threads, collect);

  auto moments = [&](int64_t task, int slot) {
    const int64_t b = task / s.blocks, first = task % s.blocks * s.block_rows;
    const int64_t last = first + s.block_rows < s.height ? first + s.block_rows : s.height;
    float* features = per_thread + slot * thread_floats;
    float *level = features + s.width * s.k, *owner = level + s.width * kLanes;
    float* sums = partial + task * 6 * slots;
    const float* t = table + b * 6 * slots;
    const SlotTable view = {t, t + slots, t + 2 * slots, t + 3 * slots, t + 4 * slots, t + 5 * slots};
    fill(sums, 6 * slots, 0.f);
    for (int64_t y = first; y < last; ++y) {
      fill(level, s.width * kLanes, 0.f);
      fill(owner, s.width * kLanes, -1.f);
      for (int i = 0; i < s.streams; ++i) {
        const Stream& st = s.stream[i];
        const Rows in = rows_around(a.embedding + b * face + st.channel, packed.zeros, y, s.height, row);
        depthwise_row(in, packed.taps + i * 9 * s.k, s.width, s.channels, s.k, features);
        int64_t at = st.slot;
        const int64_t end = st.slot + st.slots;
        const float line = static_cast<float>(y);
        for (; at + 2 * kLanes <= end; at += 2 * kLanes)
          moments_of_row<2>(features, s, packed.transfer, view, at, line, sums, level, owner);
        for (; at < end; at += kLanes)
          moments_of_row<1>(features, s, packed.transfer, view, at, line, sums, level, owner);
      }
      for (int64_t x = 0; x < s.width; ++x) {
        const Vec best = Vec::load(level + x * kLanes), who = Vec::load(owner + x * kLanes);
        const float top = reduce_max(best);
        const Mask holds = equal(best, Vec::broadcast(top));
        const float map = reduce_min(select(holds, who, Vec::broadcast(__builtin_inff())));
        a.mask[b * pixels + y * s.width + x] = top;
        a.winner[b * pixels + y * s.width + x] = top > 0.f ? static_cast<int32_t>(map) : -1;
      }
    }
  };
  parallel_for(tasks, s.threads, moments);

  auto finish = [&](int64_t b, int) {
    const double w = static_cast<double>(s.width), h = static_cast<double>(s.height);
    for (int i = 0; i < s.streams; ++i) {
      for (int64_t m = 0; m < s.stream[i].maps; ++m) {
        const int64_t at = b * s.maps + s.stream[i].map + m;
        double sum[6] = {0, 0, 0, 0, 0, 0};
        for (int64_t j = 0; j < s.blocks; ++j)
          for (int c = 0; c < 6; ++c) sum[c] += partial[((b * s.blocks + j) * 6 + c) * slots + s.stream[i].slot + m];
        const double dx = sum[1] / sum[0], dy = sum[2] / sum[0];
        a.maps.mean[2 * at] = static_cast<float>((a.maps.argmax[at] % s.width + dx + 0.5) / w);
        a.maps.mean[2 * at + 1] = static_cast<float>((a.maps.argmax[at] / s.width + dy + 0.5) / h);
        a.maps.covariance[3 * at] = static_cast<float>((sum[3] / sum[0] - dx * dx) / (w * w));
        a.maps.covariance[3 * at + 1] = static_cast<float>((sum[4] / sum[0] - dx * dy) / (w * h));
        a.maps.covariance[3 * at + 2] = static_cast<float>((sum[5] / sum[0] - dy * dy) / (h * h));
        a.maps.peak[at] = static_cast<float>(1.0 / sum[0]);
      }
    }
  };
  parallel_for(s.batch, s.threads, finish);
}

namespace {

// Per-slot numbers of one face for the backward sweep: dG = e·(c₀ + c₁·dx + c₂·dx²), where c₀ and c₁ are polynomials in dy.
// The peak is multiplied into all; lanes without a map are 0.
enum Coefficient { kHigh, kMeanX, kMeanY, kConstant, kGradX, kGradY, kGradXX, kGradXY, kGradYY, kCoefficients };

// A gradient that one pixel alone gives to one map.
struct Spike {
  int32_t slot, x;
  float value;
};

template <int V>
ACDC_INLINE void grad_logits_of_tile(const float* features, const GeometryShape& s, const float* transfer,
                                     const float* table, int64_t slot, int64_t n, float x0, float y, float* out) {
  Vec high[V], centre[V], c0[V], c1[V], c2[V];
  for (int v = 0; v < V; ++v) {
    const float* t = table + slot + v * kLanes;
    const int64_t z = s.slots;
    const Vec dy = Vec::broadcast(y) - Vec::load(t + kMeanY * z);
    high[v] = Vec::load(t + kHigh * z);
    centre[v] = Vec::load(t + kMeanX * z);
    c0[v] = fma(dy, fma(dy, Vec::load(t + kGradYY * z), Vec::load(t + kGradY * z)), Vec::load(t + kConstant * z));
    c1[v] = fma(dy, Vec::load(t + kGradXY * z), Vec::load(t + kGradX * z));
    c2[v] = Vec::load(t + kGradXX * z);
  }
  const float step = 1.f / static_cast<float>(s.width);
  auto use = [&](int64_t x, const Vec(&g)[V]) __attribute__((always_inline)) {
    const Vec column = Vec::broadcast((x0 + static_cast<float>(x) + 0.5f) * step);
    for (int v = 0; v < V; ++v) {
      const Vec dx = column - centre[v];
      (exp(g[v] - high[v]) * fma(dx, fma(dx, c2[v], c1[v]), c0[v])).store(out + x * s.slots + slot + v * kLanes);
    }
  };
  sweep<V>(features, n, transfer + slot, s.k, s.slots, use);
}

// out (n, K) = dG (n, slots)·T (slots, K) of one stream.
template <int P>
ACDC_INLINE void grad_features_of(const float* grad, const GeometryShape& s, const float* transfer, const Stream& st,
                                  int64_t c, int lanes, float* out) {
  Vec sum[P];
  for (int p = 0; p < P; ++p) sum[p] = Vec::zero();
  for (int64_t m = 0; m < st.maps; ++m) {
    const Vec t = Vec::load(transfer + m * s.k + c, lanes);
    for (int p = 0; p < P; ++p) sum[p] = fma(Vec::broadcast(grad[p * s.slots + m]), t, sum[p]);
  }
  for (int p = 0; p < P; ++p) sum[p].store(out + p * s.k + c, lanes);
}

// out (K, slots) += Dᵀ·dG for a vector of maps and N channels.
template <int N>
ACDC_INLINE void grad_transfer_of(const float* features, const float* grad, const GeometryShape& s, int64_t n,
                                  float* out) {
  Vec sum[N];
  for (int i = 0; i < N; ++i) sum[i] = Vec::load(out + i * s.slots);
  for (int64_t p = 0; p < n; ++p) {
    const Vec d = Vec::load(grad + p * s.slots);
    for (int i = 0; i < N; ++i) sum[i] = fma(Vec::broadcast(features[p * s.k + i]), d, sum[i]);
  }
  for (int i = 0; i < N; ++i) sum[i].store(out + i * s.slots);
}

// Coefficients of one face, and what the mask and the peak give to each map's extreme pixels.
void prepare_face(const GeometryBackward& a, int64_t b, float* table, float* rise, float* at_argmax, float* at_argmin) {
  const GeometryShape& s = a.shape;
  const int64_t pixels = s.height * s.width;
  fill(table, kCoefficients * s.slots, 0.f);
  mask_spikes(a.grad_mask + b * pixels, a.mask + b * pixels, a.winner + b * pixels, pixels, a.maps.high + b * s.maps,
              a.maps.low + b * s.maps, s.maps, rise, at_argmax, at_argmin);
  for (int i = 0; i < s.streams; ++i) {
    for (int64_t m = 0; m < s.stream[i].maps; ++m) {
      const int64_t l = s.stream[i].map + m, at = b * s.maps + l;
      const float *gm = a.grad_mean + 2 * at, *gc = a.grad_covariance + 3 * at, *cov = a.maps.covariance + 3 * at;
      const float peak = a.maps.peak[at], spike = a.grad_peak[at] * peak;
      at_argmax[l] += spike;
      const float values[kCoefficients] = {
          a.maps.high[at], a.maps.mean[2 * at], a.maps.mean[2 * at + 1],
          -peak * (gc[0] * cov[0] + gc[1] * cov[1] + gc[2] * cov[2] + spike),
          peak * gm[0], peak * gm[1], peak * gc[0], peak * gc[1], peak * gc[2]};
      for (int c = 0; c < kCoefficients; ++c) table[c * s.slots + s.stream[i].slot + m] = values[c];
    }
  }
}

// grad_embedding of one row, and the depthwise weights' gradient (9, K) of one row added to sums.
void depthwise_backward_row(const Rows& grad, const Rows& in, const float* grad_here, const float* taps,
                            const GeometryShape& s, float* grad_embedding, float* sums) {
  const int64_t w = s.width, k = s.k;
  for (int64_t c = 0; c < k; c += kLanes) {
    const int n = k - c < kLanes ? static_cast<int>(k - c) : kLanes;
    Vec t[9], sum[9];
    for (int i = 0; i < 9; ++i) t[i] = Vec::load(taps + i * k + c, n), sum[i] = Vec::load(sums + i * k + c, n);
    for (int64_t x = 0; x < w; ++x) {
      float* out = grad_embedding + x * s.channels + c;
      const Vec d = Vec::load(grad_here + x * k + c, n);
      Vec g = Vec::load(out, n);
      for (int i = 0; i < 3; ++i) {
        const float *dp = grad.row[2 - i] + x * k + c, *hp = in.row[i] + x * s.channels + c;
        if (x + 1 < w) {
          g = fma(Vec::load(dp + k, n), t[3 * i], g);
          sum[3 * i + 2] = fma(d, Vec::load(hp + s.channels, n), sum[3 * i + 2]);
        }
        g = fma(Vec::load(dp, n), t[3 * i + 1], g);
        sum[3 * i + 1] = fma(d, Vec::load(hp, n), sum[3 * i + 1]);
        if (x > 0) {
          g = fma(Vec::load(dp - k, n), t[3 * i + 2], g);
          sum[3 * i] = fma(d, Vec::load(hp - s.channels, n), sum[3 * i]);
        }
      }
      g.store(out, n);
    }
    for (int i = 0; i < 9; ++i) sum[i].store(sums + i * k + c, n);
  }
}

}  // namespace

void geometry_transfer_backward(const GeometryBackward& a) {
  const GeometryShape& s = a.shape;
  const int64_t face = s.height * s.width * s.channels, row = s.width * s.channels, pixels = s.height * s.width;
  const int64_t tasks = s.batch * s.blocks, slots = s.slots, k = s.k, maps = s.maps, stream_face = pixels * k;
  const Packed packed = pack(s, a.depthwise, a.transfer, a.scratch);
  float* partial = packed.end;                          // (tasks, K, slots): dT
  float* partial_taps = partial + tasks * k * slots;    // (tasks, S, 9, K)
  float* table = partial_taps + tasks * s.streams * 9 * k;  // (B, kCoefficients, slots)
  float* rise = table + s.batch * kCoefficients * slots;    // (B, L): r
  float* at_argmax = rise + s.batch * maps;
  float* at_argmin = at_argmax + s.batch * maps;
  float* grad_features = at_argmin + s.batch * maps;  // (S, B, H, W, K)
  const int64_t thread_floats = s.streams * s.width * k + kTile * slots + 6 * slots;
  float* per_thread = grad_features + s.streams * s.batch * stream_face;

  auto prepare = [&](int64_t b, int) {
    prepare_face(a, b, table + b * kCoefficients * slots, rise + b * maps, at_argmax + b * maps, at_argmin + b * maps);
  };
  parallel_for(s.batch, s.threads, prepare);

  auto sweep_back = [&](int64_t task, int thread) {
    const int64_t b = task / s.blocks, first = task % s.blocks * s.block_rows;
    const int64_t last = first + s.block_rows < s.height ? first + s.block_rows : s.height;
    float* features = per_thread + thread * thread_floats;  // (S, W, K)
    float* grad = features + s.streams * s.width * k;       // (tile, slots)
    Spike* spikes = reinterpret_cast<Spike*>(grad + kTile * slots);  // two a map at most
    const float* t = table + b * kCoefficients * slots;
    float* sums = partial + task * k * slots;
    fill(sums, k * slots, 0.f);
    for (int64_t y = first; y < last; ++y) {
      int64_t count = 0;
      for (int i = 0; i < s.streams; ++i) {
        const Stream& st = s.stream[i];
        const Rows in = rows_around(a.embedding + b * face + st.channel, packed.zeros, y, s.height, row);
        depthwise_row(in, packed.taps + i * 9 * k, s.width, s.channels, k, features + i * s.width * k);
        for (int64_t m = 0; m < st.maps; ++m) {
          const int64_t at = b * maps + st.map + m;
          const int64_t up = a.maps.argmax[at] - y * s.width, down = a.maps.argmin[at] - y * s.width;
          if (up >= 0 && up < s.width) spikes[count++] = {static_cast<int32_t>(st.slot + m), static_cast<int32_t>(up), at_argmax[at]};
          if (down >= 0 && down < s.width) spikes[count++] = {static_cast<int32_t>(st.slot + m), static_cast<int32_t>(down), at_argmin[at]};
        }
      }
      const float line = (static_cast<float>(y) + 0.5f) / static_cast<float>(s.height);
      for (int64_t x0 = 0; x0 < s.width; x0 += kTile) {
        const int64_t n = s.width - x0 < kTile ? s.width - x0 : kTile;
        for (int i = 0; i < s.streams; ++i) {
          const float* f = features + (i * s.width + x0) * k;
          int64_t at = s.stream[i].slot;
          const int64_t end = at + s.stream[i].slots;
          const float left = static_cast<float>(x0);
          for (; at + 2 * kLanes <= end; at += 2 * kLanes)
            grad_logits_of_tile<2>(f, s, packed.transfer, t, at, n, left, line, grad);
          for (; at < end; at += kLanes) grad_logits_of_tile<1>(f, s, packed.transfer, t, at, n, left, line, grad);
        }
        for (int64_t x = 0; x < n; ++x) {
          const int64_t p = b * pixels + y * s.width + x0 + x;
          const int64_t l = a.winner[p];
          if (l < 0) continue;
          const Stream& st = s.stream[s.streams == 2 && l >= s.stream[1].map];
          grad[x * slots + st.slot + l - st.map] += a.grad_mask[p] * (a.mask[p] + rise[b * maps + l]);
        }
        for (int64_t j = 0; j < count; ++j)
          if (spikes[j].x >= x0 && spikes[j].x < x0 + n) grad[(spikes[j].x - x0) * slots + spikes[j].slot] += spikes[j].value;
        for (int i = 0; i < s.streams; ++i) {
          const Stream& st = s.stream[i];
          const float *f = features + (i * s.width + x0) * k, *transfer = a.transfer + st.map * k;
          float* out = grad_features + ((i * s.batch + b) * pixels + y * s.width + x0) * k;
          for (int64_t c = 0; c < k; c += kLanes) {
            const int lanes = k - c < kLanes ? static_cast<int>(k - c) : kLanes;
            int64_t p = 0;
            for (; p + 8 <= n; p += 8) grad_features_of<8>(grad + p * slots + st.slot, s, transfer, st, c, lanes, out + p * k);
            for (; p < n; ++p) grad_features_of<1>(grad + p * slots + st.slot, s, transfer, st, c, lanes, out + p * k);
          }
          for (int64_t at = st.slot; at < st.slot + st.slots; at += kLanes) {
            int64_t c = 0;
            for (; c + 12 <= k; c += 12) grad_transfer_of<12>(f + c, grad + at, s, n, sums + c * slots + at);
            for (; c + 4 <= k; c += 4) grad_transfer_of<4>(f + c, grad + at, s, n, sums + c * slots + at);
            for (; c < k; ++c) grad_transfer_of<1>(f + c, grad + at, s, n, sums + c * slots + at);
          }
        }
      }
    }
  };
  parallel_for(tasks, s.threads, sweep_back);

  auto depthwise_back = [&](int64_t task, int) {
    const int64_t b = task / s.blocks, first = task % s.blocks * s.block_rows;
    const int64_t last = first + s.block_rows < s.height ? first + s.block_rows : s.height;
    float* sums = partial_taps + task * s.streams * 9 * k;
    fill(sums, s.streams * 9 * k, 0.f);
    fill(a.grad_embedding + b * face + first * row, (last - first) * row, 0.f);
    for (int64_t y = first; y < last; ++y) {
      for (int i = 0; i < s.streams; ++i) {
        const int64_t c = s.stream[i].channel;
        const float* grad = grad_features + (i * s.batch + b) * stream_face;
        depthwise_backward_row(rows_around(grad, packed.zeros, y, s.height, s.width * k),
                               rows_around(a.embedding + b * face + c, packed.zeros, y, s.height, row),
                               grad + y * s.width * k, packed.taps + i * 9 * k, s,
                               a.grad_embedding + b * face + y * row + c, sums + i * 9 * k);
      }
    }
  };
  parallel_for(tasks, s.threads, depthwise_back);

  for (int i = 0; i < s.streams; ++i) {
    const Stream& st = s.stream[i];
    for (int64_t c = 0; c < k; ++c) {
      for (int64_t m = 0; m < st.maps; ++m) {
        double sum = 0;
        for (int64_t j = 0; j < tasks; ++j) sum += partial[(j * k + c) * slots + st.slot + m];
        a.grad_transfer[(st.map + m) * k + c] = static_cast<float>(sum);
      }
      for (int t = 0; t < 9; ++t) {
        double sum = 0;
        for (int64_t j = 0; j < tasks; ++j) sum += partial_taps[((j * s.streams + i) * 9 + t) * k + c];
        a.grad_depthwise[(i * k + c) * 9 + t] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
