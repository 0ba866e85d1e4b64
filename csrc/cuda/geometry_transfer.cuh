// Depthwise 3×3, transfer layers, softmax moments and mask in one op: logits are recomputed from H wherever they are
// needed, never stored. A block walks down a strip of the face, `tile` columns wide and `rows` rows high, with a ring
// of four rows of H in shared memory; Tensor Cores turn each row into the logits of all maps.
#pragma once
#include "attention_mask.cuh"
#include "dual_fusion_conv1x1.cuh"
#include "spatial_softmax.cuh"

struct Geometry {
  int height, width, maps, split;  // maps before `split` read the first `k` channels of H, the others the last
  int k, streams;                  // streams that have maps: 1 or 2
  int tile, rows;                  // a strip; tile is a multiple of 32 (of 16 for float)

  __device__ int steps() const { return (k + 15) / 16; }
  __device__ int first_tiles() const { return (split + 15) / 16; }  // row tiles of 16 maps, none across `split`
  __device__ int tiles() const { return first_tiles() + (maps - split + 15) / 16; }
  __device__ int tile_stream(int m) const { return m >= first_tiles() && split ? 1 : 0; }
  __device__ int stream_offset(int stream, int channels) const { return stream == 0 && split ? 0 : channels - k; }
  __device__ int map(int m, int row) const {  // −1: padding
    int l = m < first_tiles() ? 16 * m + row : split + 16 * (m - first_tiles()) + row;
    return l < (m < first_tiles() ? split : maps) ? l : -1;
  }
  __device__ int strips() const { return (width + tile - 1) / tile * ((height + rows - 1) / rows); }
};

constexpr int kGroup = 16;  // row tiles of a block of the statistics kernel, two a warp

template <class T>
struct Strip {
  static constexpr int kColumns = sizeof(T) == 2 ? 4 : 2;  // column tiles of 8 pixels that a warp computes together
  const Geometry& s;
  const Layout& at;
  In<T> face;
  int x0, y0, y1, stride, depth_stride, m0, m1;  // m0, m1: row tiles of this block
  T *ring, *depth, *fragments;
  float* taps;

  // depth_values: least room of `depth`, where it serves twice
  __device__ Strip(const Geometry& s, const Layout& at, In<T> embedding, int depth_values, int m0, int m1,
                   Shared& shared)
      : s(s), at(at), face(embedding + i64(blockIdx.z) * s.height * s.width * at.channels), m0(m0), m1(m1) {
    int across = (s.width + s.tile - 1) / s.tile;
    x0 = blockIdx.x % across * s.tile;
    y0 = blockIdx.x / across * s.rows;
    y1 = y0 + s.rows < s.height ? y0 + s.rows : s.height;
    stride = column_stride(at.channels);
    depth_stride = column_stride(s.k);
    ring = shared.take<T>(4 * (s.tile + 2) * stride);
    depth = shared.take<T>(depth_values > s.streams * s.tile * depth_stride ? depth_values
                                                                            : s.streams * s.tile * depth_stride);
    fragments = shared.take<T>((m0 ? kGroup : m1) * s.steps() * 256);
    taps = shared.take<float>(s.streams * s.k * 9);
  }
  __device__ T* row(int y) const { return ring + (y & 3) * (s.tile + 2) * stride; }
  __device__ void load_row(int y) const {
    bool inside = y >= 0 && y < s.height;
    int high = s.width - x0 + 1;
    load_columns<T>(row(y), face, at, i64(y) * s.width + x0 - 1, 1, s.tile + 2, x0 == 0,
                    inside ? (high < s.tile + 2 ? high : s.tile + 2) : 0);
  }
  __device__ void begin(In<float> depthwise, In<T> packed) const {
    constexpr int V = Pack<T>::size;
    for (int i = threadIdx.x; i < 4 * (s.tile + 2) * stride; i += blockDim.x) ring[i] = from_float<T>(0.f);
    for (int i = threadIdx.x; i < s.streams * s.k * 9; i += blockDim.x) taps[i] = load(depthwise + i);
    for (int i = threadIdx.x * V; i < (m1 - m0) * s.steps() * 256; i += blockDim.x * V)
      copy16(fragments + i, packed + (m0 * s.steps() * 256 + i));
    __syncthreads();
    for (int y = y0 - 1; y <= y0 + 1; ++y) load_row(y);
  }
  // depth[stream][pixel][channel] = 3×3 of row y, after rows y − 1, y and y + 1 are there; a run of 8 pixels a thread
  __device__ void convolve(int y) const {
    int channels = s.streams * s.k;
    for (int i = threadIdx.x; i < channels * (s.tile / 8); i += blockDim.x) {
      int stream = i % channels / s.k, k = i % s.k, first = i / channels * 8,
          c = s.stream_offset(stream, at.channels) + k;
      const T* in[3] = {row(y - 1) + first * stride + c, row(y) + first * stride + c, row(y + 1) + first * stride + c};
      const float* w = taps + (stream * s.k + k) * 9;
      T* out = depth + (stream * s.tile + first) * depth_stride + k;
      float left[3], middle[3];
#pragma unroll
      for (int r = 0; r < 3; ++r) left[r] = to_float(in[r][0]), middle[r] = to_float(in[r][stride]);
#pragma unroll
      for (int p = 0; p < 8; ++p) {
        float sum = 0.f;
#pragma unroll
        for (int r = 0; r < 3; ++r) {
          float right = to_float(in[r][(p + 2) * stride]);
          sum += w[3 * r] * left[r] + w[3 * r + 1] * middle[r] + w[3 * r + 2] * right;
          left[r] = middle[r];
          middle[r] = right;
        }
        out[p * depth_stride] = from_float<T>(sum);
      }
    }
    int padding = s.steps() * 16 - s.k;  // multiplied by zeros, so it must be finite
    for (int i = threadIdx.x; i < padding * s.streams * s.tile; i += blockDim.x)
      depth[i / padding * depth_stride + s.k + i % padding] = from_float<T>(0.f);
  }
  // The depthwise row y for all to read. Then row y + 2 sets out for the slot of row y − 2, while the logits are
  // computed.
  __device__ void advance(int y) const {
    copies_done();
    __syncthreads();
    convolve(y);
    __syncthreads();
    if (y + 2 <= y1) load_row(y + 2);
  }
  // Logits of row tile m, pixels first … first + 8·kColumns of the current row, as `multiply` lays them out
  __device__ __forceinline__ void logits(float (&g)[kColumns][4], int m, int first) const {
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) g[j][i] = 0.f;
    const T* columns = depth + (s.tile_stream(m) * s.tile + first) * depth_stride;
    for (int k = 0; k < s.steps(); ++k) {
      T a[8], b[4];
      read_a(a, fragments + ((m - m0) * s.steps() + k) * 256);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        read_b(b, columns + j * 8 * depth_stride + k * 16, depth_stride);
        multiply(g[j], a, b);
      }
    }
  }
};

constexpr int kPartWords = 12;

// Statistics of each strip: parts (batch, strips, maps, 12). grid: (strips, groups of 16 row tiles, batch), two row
// tiles a warp.
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void geometry_transfer_statistics(
    In<T> embedding, In<float> depthwise, In<T> packed, Out<float> parts, Geometry s, Layout at) {
  constexpr int N = Strip<T>::kColumns;
  int m0 = blockIdx.y * kGroup, m1 = m0 + kGroup < s.tiles() ? m0 + kGroup : s.tiles(), g = threadIdx.x % 32 / 4,
      t = threadIdx.x % 4;
  Shared shared;
  Strip<T> strip(s, at, embedding, 0, m0, m1, shared);
  strip.begin(depthwise, packed);
  Running r[2][2];
  for (int y = strip.y0; y < strip.y1; ++y) {
    strip.advance(y);
    for (int first = 0; first < s.tile; first += 8 * N)
#pragma unroll
      for (int i_m = 0; i_m < 2; ++i_m) {
        int m = m0 + threadIdx.x / 32 * 2 + i_m, column = strip.x0 + first + 2 * t;
        if (m >= m1) continue;
        float c[N][4];
        strip.logits(c, m, first);
#pragma unroll
        for (int i_r = 0; i_r < 2; ++i_r) {
          Running& map = r[i_m][i_r];
          float high = map.high;
          int best = -1;
#pragma unroll
          for (int i = 0; i < 2 * N; ++i) {
            float& x = c[i / 2][2 * i_r + i % 2];
            int q = column + i / 2 * 8 + i % 2;
            if (q < s.width) {
              map.see_low(x, y * s.width + q);
              if (x > high) high = x, best = q;
            } else {
              x = -infinity();
            }
          }
          if (best >= 0) map.move_origin(high, best, y, y * s.width + best);
#pragma unroll
          for (int i = 0; i < 2 * N; ++i) map.add(c[i / 2][2 * i_r + i % 2], column + i / 2 * 8 + i % 2, y);
        }
      }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Running& map = r[i / 2][i % 2];
    map.merge(map.from_lane(1));
    map.merge(map.from_lane(2));
    int m = m0 + threadIdx.x / 32 * 2 + i / 2, l = m < m1 ? s.map(m, i % 2 * 8 + g) : -1;
    if (t == 0 && l >= 0) {
      Out<float> part = parts + ((i64(blockIdx.z) * gridDim.x + blockIdx.x) * s.maps + l) * kPartWords;
      store16(part, Pack<float>{{map.high, map.low, map.sum, map.x}});
      store16(part + 4, Pack<float>{{map.y, map.xx, map.xy, map.yy}});
      store16(part + 8, Pack<float>{{bits_float(map.argmax), bits_float(map.argmin), bits_float(map.column),
                                     bits_float(map.row)}});
    }
  }
}

// The strips' statistics into one: a thread a map. grid: maps·batch / 128
template <class Float>  // float
__global__ __launch_bounds__(128) void geometry_transfer_combine(In<Float> parts, MapOutputs out, int maps, int strips,
                                                                 int height, int width, i64 count) {
  i64 map = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (map >= count) return;
  Running r;
  for (int i = 0; i < strips; ++i) {
    In<Float> part = parts + ((map / maps * strips + i) * maps + map % maps) * kPartWords;
    Pack<float> a = load16(part), b = load16(part + 4), c = load16(part + 8);
    Running other;
    other.high = a.v[0], other.low = a.v[1], other.sum = a.v[2], other.x = a.v[3];
    other.y = b.v[0], other.xx = b.v[1], other.xy = b.v[2], other.yy = b.v[3];
    other.argmax = float_bits(c.v[0]), other.argmin = float_bits(c.v[1]), other.column = float_bits(c.v[2]),
    other.row = float_bits(c.v[3]);
    r.merge(other);
  }
  write_map(out, map, r, height, width);
}

// The mask of the strip's current row into phi[tile], and its winners: every warp sees its row tiles' maps, then one
// takes the best.
template <class T>
__device__ void strip_mask(const Strip<T>& strip, const Pack<float>* levels, Best* best, float* phi, int* winner) {
  constexpr int N = Strip<T>::kColumns;
  const Geometry& s = strip.s;
  int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  for (int first = 0; first < s.tile; first += 8 * N) {
    Best b[2 * N];
    for (int m = warp; m < s.tiles(); m += 8) {
      float c[N][4];
      strip.logits(c, m, first);
#pragma unroll
      for (int i_r = 0; i_r < 2; ++i_r) {
        int l = s.map(m, i_r * 8 + g);
        if (l < 0) continue;
        Pack<float> level = levels[l];  // high, floor, gain
#pragma unroll
        for (int i = 0; i < 2 * N; ++i)
          b[i].see((fast_exp(c[i / 2][2 * i_r + i % 2] - level.v[0]) - level.v[1]) * level.v[2], l);
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * N; ++i) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) {
        float level = __shfl_xor_sync(kAllLanes, b[i].level, step);
        int map = __shfl_xor_sync(kAllLanes, b[i].map, step);
        b[i].see(level, map);
      }
      if (g == 0) best[warp * s.tile + first + i / 2 * 8 + 2 * t + i % 2] = b[i];
    }
  }
  __syncthreads();
  for (int p = threadIdx.x; p < s.tile; p += blockDim.x) {
    Best b = best[p];
    for (int w = 1; w < 8; ++w) b.see(best[w * s.tile + p].level, best[w * s.tile + p].map);
    phi[p] = b.level;
    winner[p] = b.map;
  }
}

__device__ inline void begin_levels(Pack<float>* levels, In<float> high, In<float> low, In<int> masked, int maps) {
  for (int l = threadIdx.x; l < maps; l += blockDim.x) {
    i64 map = i64(blockIdx.z) * maps + l;
    Level level(load(high + map), load(low + map));
    levels[l] = {{level.high, level.floor, load(masked + l) ? level.gain : 0.f, 0.f}};
  }
}

// grid: (strips, 1, batch). Mask and winners, for training.
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void geometry_transfer_mask(
    In<T> embedding, In<float> depthwise, In<T> packed, In<float> high, In<float> low, In<int> masked, Out<float> mask,
    Out<int> winner, Geometry s, Layout at) {
  Shared shared;
  Strip<T> strip(s, at, embedding, 0, 0, s.tiles(), shared);
  Pack<float>* levels = shared.take<Pack<float>>(s.maps);
  Best* best = shared.take<Best>(8 * s.tile);
  float* phi = shared.take<float>(s.tile);
  int* winners = shared.take<int>(s.tile);
  begin_levels(levels, high, low, masked, s.maps);
  strip.begin(depthwise, packed);
  for (int y = strip.y0; y < strip.y1; ++y) {
    strip.advance(y);
    strip_mask(strip, levels, best, phi, winners);
    for (int p = threadIdx.x; p < s.tile && strip.x0 + p < s.width;
         p += blockDim.x) {  // by the threads that wrote them
      i64 o = (i64(blockIdx.z) * s.height + y) * s.width + strip.x0 + p;
      store(mask + o, phi[p]);
      store(winner + o, winners[p]);
    }
  }
}

// grid: (strips, 1, batch). One pass from H, the image, statistics and excitation to the next stem's output (and the
// mask).
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void geometry_transfer_stem(
    In<float> image, In<T> embedding, In<float> depthwise, In<T> packed, In<float> high, In<float> low, In<int> masked,
    In<float> excitation, In<T> stem_packed, In<float> stem_terms, Out<float> mask, Out<T> out, Geometry s,
    StemShape stem_shape, Layout at, Layout out_at) {
  i64 face = blockIdx.z;
  Shared shared;
  Strip<T> strip(s, at, embedding, stem_shape.staged(), 0, s.tiles(), shared);
  Stem<T> stem(stem_shape, shared);
  Pack<float>* levels = shared.take<Pack<float>>(s.maps);
  Best* best = shared.take<Best>(8 * s.tile);
  float* phi = shared.take<float>(s.tile);
  float* grey = shared.take<float>(s.tile);
  int* winners = shared.take<int>(s.tile);
  begin_levels(levels, high, low, masked, s.maps);
  stem.begin(stem_packed, stem_terms, excitation + face * (2 + 2 * at.channels));
  strip.begin(depthwise, packed);
  int count = s.width - strip.x0 < s.tile ? s.width - strip.x0 : s.tile;
  for (int y = strip.y0; y < strip.y1; ++y) {
    i64 first = i64(y) * s.width + strip.x0, o_pixel = face * s.height * s.width + first;
    strip.advance(y);
    for (int p = threadIdx.x; p < s.tile; p += blockDim.x) grey[p] = p < count ? load(image + (o_pixel + p)) : 0.f;
    strip_mask(strip, levels, best, phi, winners);
    for (int p = threadIdx.x; p < count; p += blockDim.x) store(mask + (o_pixel + p), phi[p]);
    __syncthreads();
    T* staged = strip.depth;  // the logits are done with it
    stem.run(strip.row(y) + strip.stride, grey, phi, staged, stage_step_p(stem_shape, out_at),
             stage_step_o(stem_shape, out_at));
    __syncthreads();
    store_stem(staged, stem_shape, out + face * s.height * s.width * stem_shape.outputs, out_at, first, count);
  }
}
