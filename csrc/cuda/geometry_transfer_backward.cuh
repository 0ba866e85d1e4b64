// Gradients of the geometry transfer network. The logits' gradient is computed strip by strip, in shared memory only.
#pragma once
#include "geometry_transfer.cuh"

struct MapGradients {  // pointers for all maps, see MapGradient; extremes (maps, 2) come from `attention_mask_extremes`
  In<float> grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, low, extremes;
  In<int> argmax, argmin;
};

struct Slot {  // one of the 16 maps of a row tile
  MapGradient moments;
  float ratio, at_low;
  int argmin, map;  // map −1: padding
};

constexpr int kChannelTiles = 6;  // of 8 channels: the part of dT that one block of `geometry_transfer_gradient` sums

// Gradients of the depthwise outputs (batch, streams, k, pixels), and of the transfer layers in parts (batch·strips,
// 16·tiles, k). grid: (strips, blocks of 48 of k, batch). A warp has two row tiles, so there are at most 16.
// transposed: `pack_fragments` of each stream's transferᵀ.
template <class T>
__global__ __launch_bounds__(256, 1) void geometry_transfer_gradient(MapGradients maps, In<float> grad_mask,
                                                                     In<float> mask, In<int> winner, In<T> embedding,
                                                                     In<float> depthwise, In<T> packed,
                                                                     In<T> transposed, Out<T> grad_depth,
                                                                     Out<float> parts, Geometry s, Layout at) {
  constexpr int N = Strip<T>::kColumns;
  int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32, k0 = blockIdx.y * 8 * kChannelTiles;
  int slots = 16 * s.tiles(), g_stride = slots + 8;
  i64 face = blockIdx.z;
  Shared shared;
  Strip<T> strip(s, at, embedding, 0, 0, s.tiles(), shared);
  T* gradient = shared.take<T>(s.tile * g_stride);  // (pixel, slot): dG of the current row
  Slot* slot = shared.take<Slot>(slots);
  float* row = shared.take<float>(2 * s.tile);  // mask and its gradient
  int* row_winner = shared.take<int>(s.tile);
  for (int i = threadIdx.x; i < slots; i += blockDim.x) {
    int l = s.map(i / 16, i % 16);
    i64 map = face * s.maps + (l < 0 ? 0 : l);
    Level level(load(maps.high + map), load(maps.low + map));
    MapGradient m(maps.grad_mean, maps.grad_covariance, maps.grad_peak, maps.mean, maps.covariance, maps.peak,
                  maps.high, maps.argmax, map);
    m.spike += load(maps.extremes + 2 * map);
    slot[i] = {m, level.floor * level.gain, load(maps.extremes + (2 * map + 1)), load(maps.argmin + map), l};
  }
  strip.begin(depthwise, packed);
  float sum[2][kChannelTiles][4] = {};
  for (int y = strip.y0; y < strip.y1; ++y) {
    strip.advance(y);
    for (int p = threadIdx.x; p < s.tile; p += blockDim.x) {
      bool inside = strip.x0 + p < s.width;
      i64 o = (face * s.height + y) * s.width + strip.x0 + p;
      row[p] = inside ? load(mask + o) : 0.f;
      row[s.tile + p] = inside ? load(grad_mask + o) : 0.f;
      row_winner[p] = inside ? load(winner + o) : -1;
    }
    __syncthreads();
    for (int first = 0; first < s.tile; first += 8 * N)
#pragma unroll
      for (int i_m = 0; i_m < 2; ++i_m) {
        int m = 2 * warp + i_m;
        if (m >= s.tiles()) continue;
        float c[N][4];
        strip.logits(c, m, first);
#pragma unroll
        for (int i = 0; i < 4 * N; ++i) {
          const Slot& a = slot[m * 16 + i % 4 / 2 * 8 + g];
          int p = first + i / 4 * 8 + 2 * t + i % 2, q = strip.x0 + p, pixel = y * s.width + q;
          float& x = c[i / 4][i % 4];
          x = a.moments.attention(x) *
              a.moments.slope((float(q) + .5f) / float(s.width), (float(y) + .5f) / float(s.height));
          if (row_winner[p] == a.map) x += row[s.tile + p] * (row[p] + a.ratio);
          if (pixel == a.moments.argmax) x += a.moments.spike;
          if (pixel == a.argmin) x += a.at_low;
          if (a.map < 0 || q >= s.width) x = 0.f;
          gradient[p * g_stride + m * 16 + i % 4 / 2 * 8 + g] = from_float<T>(x);
        }
        const T* depth = strip.depth + s.tile_stream(m) * s.tile * strip.depth_stride + k0;
#pragma unroll
        for (int half = 0; half < N / 2;
             ++half) {  // 16 pixels; c holds them in the layout that `multiply` needs for its a
          T a[8], b[4];
#pragma unroll
          for (int i = 0; i < 8; ++i) a[i] = from_float<T>(c[2 * half + i / 4][i % 4]);
#pragma unroll
          for (int n = 0; n < kChannelTiles; ++n) {
            if (k0 + n * 8 >= s.k) continue;
#pragma unroll
            for (int i = 0; i < 4; ++i)
              b[i] = depth[(first + half * 16 + i / 2 * 8 + 2 * t + i % 2) * strip.depth_stride + n * 8 + g];
            multiply(sum[i_m][n], a, b);
          }
        }
      }
    __syncthreads();
    if (blockIdx.y) continue;
    for (int job = warp; job < s.streams * (s.tile / 8); job += 8) {  // dD = Tᵀ·dG of 8 pixels of one stream
      int stream = job / (s.tile / 8), first = job % (s.tile / 8) * 8, m0 = stream ? s.first_tiles() : 0;
      int m1 = stream || s.streams == 1 ? s.tiles() : s.first_tiles();
      for (int r = 0; r < s.steps(); ++r) {
        float c[4] = {};
        for (int m = m0; m < m1; ++m) {
          T a[8], b[4];
          In<T> fragment = transposed + ((m0 * s.steps() + r * (m1 - m0) + m - m0) * 256 + int(threadIdx.x % 32) * 8);
#pragma unroll
          for (int i = 0; i < 8; i += Pack<T>::size) {
            Pack<T> x = load16(fragment + i);
#pragma unroll
            for (int j = 0; j < Pack<T>::size; ++j) a[i + j] = x.v[j];
          }
          read_b(b, gradient + first * g_stride + m * 16, g_stride);
          multiply(c, a, b);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int k = r * 16 + i / 2 * 8 + g, q = strip.x0 + first + 2 * t + i % 2;
          if (k < s.k && q < s.width)
            store(grad_depth + ((((face * s.streams + stream) * s.k + k) * s.height + y) * s.width + q),
                  from_float<T>(c[i]));
        }
      }
    }
  }
  Out<float> part = parts + (face * gridDim.x + blockIdx.x) * slots * s.k;
#pragma unroll
  for (int i = 0; i < 2 * kChannelTiles * 4; ++i) {
    int m = 2 * warp + i / (kChannelTiles * 4), k = k0 + i / 4 % kChannelTiles * 8 + 2 * t + i % 2;
    if (m < s.tiles() && k < s.k)
      store(part + ((m * 16 + i % 4 / 2 * 8 + g) * i64(s.k) + k),
            sum[i / (kChannelTiles * 4)][i / 4 % kChannelTiles][i % 4]);
  }
}

// dH from the gradients of the depthwise outputs. grid: (pixels / 256, channels, batch)
template <class T>
__global__ __launch_bounds__(256) void depthwise_backward_input(In<T> grad_depth, In<float> depthwise,
                                                                Out<T> grad_embedding, Geometry s, Layout at) {
  int p = blockIdx.x * blockDim.x + threadIdx.x, c = blockIdx.y, pixels = s.height * s.width, x = p % s.width,
      y = p / s.width;
  i64 face = blockIdx.z;
  if (p >= pixels) return;
  float sum = 0.f;
  for (int stream = 0; stream < s.streams; ++stream) {
    int k = c - s.stream_offset(stream, at.channels);
    if (k < 0 || k >= s.k) continue;
    In<T> from = grad_depth + ((face * s.streams + stream) * s.k + k) * pixels;
#pragma unroll
    for (int i = 0; i < 9; ++i) {
      int row = y + 1 - i / 3, column = x + 1 - i % 3;
      if (row >= 0 && row < s.height && column >= 0 && column < s.width)
        sum += load(depthwise + ((stream * s.k + k) * 9 + i)) * to_float(load(from + (row * s.width + column)));
    }
  }
  store(grad_embedding + (face * pixels * at.channels + c * at.stride_c + p * at.stride_p), from_float<T>(sum));
}

// Gradients of the depthwise weights, for each face: (batch, streams·k, 9). grid: (streams·k, batch)
template <class T>
__global__ __launch_bounds__(256) void depthwise_backward_weight(In<T> grad_depth, In<T> embedding, Out<float> parts,
                                                                 Geometry s, Layout at) {
  int stream = blockIdx.x / s.k, c = blockIdx.x % s.k + s.stream_offset(stream, at.channels),
      pixels = s.height * s.width;
  i64 face = blockIdx.y, o = face * gridDim.x + blockIdx.x;
  In<T> from = embedding + (face * pixels * at.channels + c * at.stride_c);
  float sum[9] = {};
  for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
    float g = to_float(load(grad_depth + (o * pixels + p)));
    int x = p % s.width, y = p / s.width;
#pragma unroll
    for (int i = 0; i < 9; ++i) {
      int row = y - 1 + i / 3, column = x - 1 + i % 3;
      if (row >= 0 && row < s.height && column >= 0 && column < s.width)
        sum[i] += g * to_float(load(from + (i64(row) * s.width + column) * at.stride_p));
    }
  }
  Shared shared;
  float* scratch = shared.take<float>(32);
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    float total = block_sum(sum[i], scratch);
    if (threadIdx.x == 0) store(parts + (o * 9 + i), total);
  }
}
