// The dual fusion and the next U-Net's stem in one. With f folded into the weight's columns,
// out = A·[I; H] + Φ·B·[I; H] + bias, so F and H⊙Φ are never stored. Tensor Cores multiply the channels, FMAs the
// image.
#pragma once
#include "mma.cuh"

// The layout of an image tensor: NCHW (stride_c = pixels, stride_p = 1) or channels last (1, channels).
struct Layout {
  i64 stride_c, stride_p;
  int channels, wide;  // wide: base and strides allow 16-byte loads
};

__device__ __forceinline__ int column_stride(int channels) {
  return (channels + 15) / 16 * 16 + 8;
}  // in shared memory: read_b then has no bank conflict

// Shared column j < columns gets all channels of pixel first + j if low ≤ j < high, else 0. Column `head` lies on a
// 16-byte boundary of an NCHW image. The values have arrived only after `copies_done` and a barrier.
template <class T>
__device__ void load_columns(T* shared, In<T> image, const Layout& at, i64 first, int head, int columns, int low,
                             int high) {
  constexpr int V = Pack<T>::size;
  int stride = column_stride(at.channels), channels = at.channels;
  if (at.stride_c == 1 && at.wide) {
    int packs = channels / V;
    for (int i = threadIdx.x; i < columns * packs; i += blockDim.x) {
      int j = i / packs, c = i % packs * V;
      T* to = shared + j * stride + c;
      if (j >= low && j < high)
        copy16(to, image + ((first + j) * at.stride_p + c));
      else
        *reinterpret_cast<Pack<T>*>(to) = Pack<T>{};
    }
    return;
  }
  int groups = (columns - head + V - 1) / V + (head ? 1 : 0);
#pragma unroll 2
  for (int i = threadIdx.x; i < groups * channels; i += blockDim.x) {
    int c = i / groups, j = head + (i % groups - (head ? 1 : 0)) * V, skip = j < 0 ? -j : 0;
    In<T> from = image + ((first + j) * at.stride_p + c * at.stride_c);
    bool whole = at.wide && j >= low && j >= 0 && j + V <= high;
    Pack<T> x;
    if (whole) x = load16(from);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      bool inside = j + k >= low && j + k < high;
      if (k >= skip && j + k < columns)
        shared[(j + k) * stride + c] = whole ? x.v[k] : inside ? load(from + k * at.stride_p) : from_float<T>(0.f);
    }
  }
}

// Writes `rows`·`columns` values of a staged result to global memory: shared[r·stride + j] to out + r·step + j.
template <class T>
__device__ void store_rows(const T* shared, int stride, Out<T> out, i64 step, int rows, int columns, int wide) {
  constexpr int V = Pack<T>::size;
  int packs = (columns + V - 1) / V;
  for (int i = threadIdx.x; i < rows * packs; i += blockDim.x) {
    int r = i / packs, j = i % packs * V;
    store_pack<T>(out + (r * step + j), *reinterpret_cast<const Pack<T>*>(shared + r * stride + j), columns - j, wide);
  }
}

struct StemShape {
  int outputs, channels, tile;  // tile: pixels of one step, a multiple of 16
  __device__ int steps() const { return (channels + 15) / 16; }
  __device__ int row_tiles() const { return (outputs + 15) / 16; }
  __device__ int fragments() const { return 2 * row_tiles() * steps() * 256; }
  __device__ int staged() const { return (outputs + 15) / 16 * 16 * (tile + 8) + tile * 8; }  // enough for both layouts
};

// The stem of one face: its weights in shared memory, with the face's excitation folded in.
template <class T>
struct Stem {
  StemShape s;
  T* fragments;      // (plain or masked, row tile, k tile, lane, 8)
  float *terms, *f;  // (outputs, 3): image, masked image, bias; the face's excitation (2 + 2·channels)

  __device__ Stem(StemShape shape, Shared& shared) : s(shape) {
    fragments = shared.take<T>(s.fragments());
    terms = shared.take<float>(3 * s.outputs);
    f = shared.take<float>(2 + 2 * s.channels);
  }

  // packed: `pack_fragments` of the weight's H and H⊙Φ columns; terms (outputs, 3), without the excitation
  __device__ void begin(In<T> packed, In<float> image_terms, In<float> excitation) {
    constexpr int V = Pack<T>::size;
    for (int i = threadIdx.x; i < 2 + 2 * s.channels; i += blockDim.x) f[i] = load(excitation + i);
    __syncthreads();
    for (int i = threadIdx.x * V; i < s.fragments(); i += blockDim.x * V) {
      int masked = i / (s.fragments() / 2), k = i / 256 % s.steps() * 16 + i / 8 % 4 * 2;
      Pack<T> w = load16(packed + i);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        int c = k + ((i + j) % 8 / 4) * 8 + j % 2;
        w.v[j] = from_float<T>(c < s.channels ? to_float(w.v[j]) * f[2 + masked * s.channels + c] : 0.f);
      }
      *reinterpret_cast<Pack<T>*>(fragments + i) = w;
    }
    for (int i = threadIdx.x; i < 3 * s.outputs; i += blockDim.x)
      terms[i] = load(image_terms + i) * (i % 3 < 2 ? f[i % 3] : 1.f);
  }

  // columns: H of the tile's pixels, shared; image, phi: (tile,), shared. Writes staged[px·step_p + o·step_o].
  __device__ void run(const T* columns, const float* image, const float* phi, T* staged, int step_p, int step_o) const {
    int stride = column_stride(s.channels), g = threadIdx.x % 32 / 4, t = threadIdx.x % 4,
        pairs = (s.row_tiles() + 1) / 2;
    for (int job = threadIdx.x / 32; job < s.tile / 8 * pairs; job += blockDim.x / 32) {
      int first = job / pairs * 8, m = job % pairs * 2;
      float sum[2][2][4] = {};  // (plain or masked, row tile, c)
      for (int k = 0; k < s.steps(); ++k) {
        T a[8], b[4];
        read_b(b, columns + first * stride + k * 16, stride);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (m + i % 2 < s.row_tiles()) {
            read_a(a, fragments + (((i / 2) * s.row_tiles() + m + i % 2) * s.steps() + k) * 256);
            multiply(sum[i / 2][i % 2], a, b);
          }
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        int o = (m + i / 4) * 16 + i % 4 / 2 * 8 + g, p = first + 2 * t + i % 2;
        if (o >= s.outputs) continue;
        float plain = sum[0][i / 4][i % 4] + terms[3 * o] * image[p],
              masked = sum[1][i / 4][i % 4] + terms[3 * o + 1] * image[p];
        staged[p * step_p + o * step_o] = from_float<T>(plain + phi[p] * masked + terms[3 * o + 2]);
      }
    }
  }
};

// Writes the staged tile to `out`, in its layout. `first` is the tile's first pixel, `count` their number.
template <class T>
__device__ void store_stem(const T* staged, const StemShape& s, Out<T> out, const Layout& at, i64 first, int count) {
  if (at.stride_c == 1)
    store_rows(staged, (s.outputs + 15) / 16 * 16 + 8, out + first * at.stride_p, at.stride_p, count, s.outputs,
               at.wide);
  else
    store_rows(staged, s.tile + 8, out + first, at.stride_c, s.outputs, count, at.wide);
}
__device__ __forceinline__ int stage_step_p(const StemShape& s, const Layout& at) {
  return at.stride_c == 1 ? (s.outputs + 15) / 16 * 16 + 8 : 1;
}
__device__ __forceinline__ int stage_step_o(const StemShape& s, const Layout& at) {
  return at.stride_c == 1 ? 1 : s.tile + 8;
}

// grid: (parts of a face, batch). A block takes the tiles of its part. `at`, `out_at`: layouts of embedding and out.
template <class T>
__global__ __launch_bounds__(256, 2) void dual_fusion_conv1x1_forward(In<float> image, In<T> embedding, In<float> mask,
                                                                      In<float> excitation, In<T> packed,
                                                                      In<float> image_terms, Out<T> out, StemShape s,
                                                                      Layout at, Layout out_at, int pixels) {
  i64 face = blockIdx.y;
  Shared shared;
  Stem<T> stem(s, shared);
  int stride = column_stride(s.channels);
  T* columns = shared.take<T>(s.tile * stride);
  T* staged = shared.take<T>(s.staged());
  float* row = shared.take<float>(2 * s.tile);  // image, mask
  stem.begin(packed, image_terms, excitation + face * (2 + 2 * s.channels));
  for (int i = threadIdx.x; i < s.tile * stride; i += blockDim.x) columns[i] = from_float<T>(0.f);
  __syncthreads();
  for (int first = blockIdx.x * s.tile; first < pixels; first += gridDim.x * s.tile) {
    int count = pixels - first < s.tile ? pixels - first : s.tile;
    load_columns<T>(columns, embedding + face * pixels * s.channels, at, first, 0, s.tile, 0, count);
    for (int i = threadIdx.x; i < s.tile; i += blockDim.x) {
      row[i] = i < count ? load(image + (face * pixels + first + i)) : 0.f;
      row[s.tile + i] = i < count ? load(mask + (face * pixels + first + i)) : 0.f;
    }
    copies_done();
    __syncthreads();
    stem.run(columns, row, row + s.tile, staged, stage_step_p(s, out_at), stage_step_o(s, out_at));
    __syncthreads();
    store_stem(staged, s, out + face * pixels * s.outputs, out_at, first, count);
  }
}
