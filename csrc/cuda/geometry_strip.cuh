// A strip of the face, `tile` columns wide and `rows` rows high. A block walks down it with a ring of four rows of H in
// shared memory. The depthwise 3×3 and the transfer layers make the logits of all maps from each row, on Tensor Cores.
// Logits are computed again from H each time they are needed, and never stored.
#pragma once
#include "dual_fusion_conv1x1.cuh"

struct Geometry {
  int height, width, maps, split;  // maps before `split` read the first `k` channels of H, the others the last
  int k, streams;                  // streams with maps: 1 or 2
  int tile, rows;                  // of a strip; tile is a multiple of 32 (float: of 16)

  __device__ int steps() const { return (k + 15) / 16; }
  __device__ int first_tiles() const { return (split + 15) / 16; }  // row tiles of 16 maps; none lies across `split`
  __device__ int tiles() const { return first_tiles() + (maps - split + 15) / 16; }
  __device__ int tile_stream(int m) const { return m >= first_tiles() && split ? 1 : 0; }
  __device__ int stream_offset(int stream, int channels) const { return stream == 0 && split ? 0 : channels - k; }
  __device__ int map(int m, int row) const {  // −1: padding
    int l = m < first_tiles() ? 16 * m + row : split + 16 * (m - first_tiles()) + row;
    return l < (m < first_tiles() ? split : maps) ? l : -1;
  }
  __device__ int strips() const { return (width + tile - 1) / tile * ((height + rows - 1) / rows); }
};

constexpr int kGroup = 16;  // row tiles of a block of the statistics kernel: two for each warp

template <class T>
struct Strip {
  static constexpr int kColumns = sizeof(T) == 2 ? 4 : 2;  // column tiles of 8 pixels that a warp computes together
  const Geometry& s;
  const Layout& at;
  In<T> face;
  int x0, y0, y1, stride, depth_stride, m0, m1;  // m0, m1: row tiles of this block
  T *ring, *depth, *fragments;
  float* taps;

  // depth_values: least room of `depth`, if it is used for something else too
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
  // depth[stream][pixel][channel] = 3×3 of row y, once rows y − 1, y and y + 1 are there. A thread has runs of 8
  // pixels.
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
    int padding = s.steps() * 16 - s.k;  // zeros multiply it, so it must be finite
    for (int i = threadIdx.x; i < padding * s.streams * s.tile; i += blockDim.x)
      depth[i / padding * depth_stride + s.k + i % padding] = from_float<T>(0.f);
  }
  // Computes the depthwise row y for all threads. Then row y + 2 begins to load into the slot of row y − 2, while the
  // logits are computed.
  __device__ void advance(int y) const {
    copies_done();
    __syncthreads();
    convolve(y);
    __syncthreads();
    if (y + 2 <= y1) load_row(y + 2);
  }
  // Logits of row tile m, pixels first … first + 8·kColumns of the current row, in the layout of `multiply`
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
