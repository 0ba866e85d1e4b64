// Gradients of the fused stem. With u = Wᵀ·ḡ (2 + 2C values for each pixel): dH = f·u + Φ·f'·u', dΦ = Σ f'·x·u', and dI
// in the same way. Those of weights and excitation follow from M = Σ_p ḡ·[I, I⊙Φ, H, H⊙Φ]ᵀ, a small matrix of each
// face.
#pragma once
#include "dual_fusion_conv1x1.cuh"

// grid: (parts of a face, batch). packed: `pack_fragments` of the transposed H and H⊙Φ columns, (2, channel tiles,
// output steps, 32, 8)
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void dual_fusion_conv1x1_backward(
    In<T> grad_out, In<float> image, In<T> embedding, In<float> mask, In<float> excitation, In<T> packed,
    In<float> image_terms, Out<float> grad_image, Out<T> grad_embedding, Out<float> grad_mask, StemShape s,
    Layout grad_at, Layout at, Layout out_at, int pixels) {
  constexpr int V = Pack<T>::size;
  i64 face = blockIdx.y;
  int steps = (s.outputs + 15) / 16, row_tiles = (s.channels + 15) / 16, g_stride = column_stride(s.outputs);
  int h_stride = column_stride(s.channels), g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Shared shared;
  T* fragments = shared.take<T>(2 * row_tiles * steps * 256);
  T* g_columns = shared.take<T>(s.tile * g_stride);
  T* h_columns = shared.take<T>(s.tile * h_stride);
  float* f = shared.take<float>(2 + 2 * s.channels);
  for (int i = threadIdx.x * V; i < 2 * row_tiles * steps * 256; i += blockDim.x * V) copy16(fragments + i, packed + i);
  for (int i = threadIdx.x; i < 2 + 2 * s.channels; i += blockDim.x)
    f[i] = load(excitation + (face * (2 + 2 * s.channels) + i));
  for (int i = threadIdx.x; i < s.tile * g_stride; i += blockDim.x) g_columns[i] = from_float<T>(0.f);
  __syncthreads();
  for (int first = blockIdx.x * s.tile; first < pixels; first += gridDim.x * s.tile) {
    int count = pixels - first < s.tile ? pixels - first : s.tile;
    load_columns<T>(g_columns, grad_out + face * pixels * s.outputs, grad_at, first, 0, s.tile, 0, count);
    load_columns<T>(h_columns, embedding + face * pixels * s.channels, at, first, 0, s.tile, 0, count);
    copies_done();
    __syncthreads();
    for (int p0 = threadIdx.x / 32 * 8; p0 < s.tile; p0 += blockDim.x / 4) {
      float phi[2], grey[2], g_phi[2] = {}, u[2][2] = {};  // u: image and masked image
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        int p = p0 + 2 * t + i;
        phi[i] = p < count ? load(mask + (face * pixels + first + p)) : 0.f;
        grey[i] = p < count ? load(image + (face * pixels + first + p)) : 0.f;
        for (int o = g; o < s.outputs; o += 8) {
          float x = to_float(g_columns[p * g_stride + o]);
          u[0][i] += load(image_terms + 3 * o) * x;
          u[1][i] += load(image_terms + (3 * o + 1)) * x;
        }
        g_phi[i] = f[1] * grey[i] * u[1][i];
      }
      for (int m = 0; m < row_tiles; ++m) {
        float plain[4] = {}, masked[4] = {};
        for (int k = 0; k < steps; ++k) {
          T a[8], b[4];
          read_b(b, g_columns + p0 * g_stride + k * 16, g_stride);
          read_a(a, fragments + (m * steps + k) * 256);
          multiply(plain, a, b);
          read_a(a, fragments + ((row_tiles + m) * steps + k) * 256);
          multiply(masked, a, b);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int c = m * 16 + i / 2 * 8 + g, p = p0 + 2 * t + i % 2;
          if (c >= s.channels) continue;
          T& h = h_columns[p * h_stride + c];  // only this thread reads it; its gradient then takes its place
          float f_masked = f[2 + s.channels + c] * masked[i];
          g_phi[i % 2] += f_masked * to_float(h);
          h = from_float<T>(f[2 + c] * plain[i] + phi[i % 2] * f_masked);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int step = 4; step < 32; step *= 2) {
          g_phi[i] += __shfl_xor_sync(kAllLanes, g_phi[i], step);
          u[0][i] += __shfl_xor_sync(kAllLanes, u[0][i], step);
          u[1][i] += __shfl_xor_sync(kAllLanes, u[1][i], step);
        }
        int p = p0 + 2 * t + i;
        if (g == 0 && p < count) {
          store(grad_mask + (face * pixels + first + p), g_phi[i]);
          store(grad_image + (face * pixels + first + p), f[0] * u[0][i] + f[1] * phi[i] * u[1][i]);
        }
      }
    }
    __syncthreads();
    Out<T> to = grad_embedding + face * pixels * s.channels;
    for (int i = threadIdx.x; i < count * s.channels; i += blockDim.x) {  // in the order of memory
      bool last = out_at.stride_c == 1;
      int p = last ? i / s.channels : i % count, c = last ? i % s.channels : i / count;
      store(to + ((first + p) * out_at.stride_p + c * out_at.stride_c), h_columns[p * h_stride + c]);
    }
    __syncthreads();
  }
}

// M in parts (batch, gridDim.x, outputs, 2·channels + 3): H, H⊙Φ, image, masked image, and Σḡ. grid: (parts, blocks of
// 64 outputs × blocks of 64 channels, batch). A warp has 16 outputs and 32 channels.
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void dual_fusion_conv1x1_weights(
    In<T> grad_out, In<float> image, In<T> embedding, In<float> mask, Out<float> parts, StemShape s, Layout grad_at,
    Layout at, int pixels) {
  i64 face = blockIdx.z;
  int blocks_c = (s.channels + 63) / 64, o0 = blockIdx.y / blocks_c * 64, c0 = blockIdx.y % blocks_c * 64;
  int outputs = s.outputs, channels = s.channels, width = 2 * channels + 3, stride = column_stride(64);
  Layout g_at = grad_at, h_at = at;
  g_at.channels = outputs - o0 < 64 ? outputs - o0 : 64;
  h_at.channels = channels - c0 < 64 ? channels - c0 : 64;
  int g_stride = column_stride(g_at.channels), h_stride = column_stride(h_at.channels);
  int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, o_tile = threadIdx.x / 32 % 4 * 16,
      c_tile = threadIdx.x / 128 * 32;
  Shared shared;
  T* g_columns = shared.take<T>(s.tile * stride);
  T* h_columns = shared.take<T>(s.tile * stride);
  float* row = shared.take<float>(2 * s.tile);  // mask, image
  for (int i = threadIdx.x; i < s.tile * stride; i += blockDim.x) g_columns[i] = h_columns[i] = from_float<T>(0.f);
  __syncthreads();
  float sum[2][4][4] = {},
        terms[3] = {};  // (plain or masked, 8 channels, c); image, masked image, bias of output o0 + threadIdx.x
  for (int first = blockIdx.x * s.tile; first < pixels; first += gridDim.x * s.tile) {
    int count = pixels - first < s.tile ? pixels - first : s.tile;
    load_columns<T>(g_columns, grad_out + (face * pixels * outputs + o0 * grad_at.stride_c), g_at, first, 0, s.tile, 0,
                    count);
    load_columns<T>(h_columns, embedding + (face * pixels * channels + c0 * at.stride_c), h_at, first, 0, s.tile, 0,
                    count);
    for (int i = threadIdx.x; i < s.tile; i += blockDim.x) {
      row[i] = i < count ? load(mask + (face * pixels + first + i)) : 0.f;
      row[s.tile + i] = i < count ? load(image + (face * pixels + first + i)) : 0.f;
    }
    copies_done();
    __syncthreads();
    if (o_tile < g_at.channels && c_tile < h_at.channels)
      for (int p = 0; p < s.tile; p += 16) {
        T a[8], b[4], b_masked[4];
#pragma unroll
        for (int i = 0; i < 8; ++i)
          a[i] = g_columns[(p + i / 4 * 8 + 2 * t + i % 2) * g_stride + o_tile + i / 2 % 2 * 8 + g];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          int c = c_tile + n * 8;
          if (c >= h_at.channels) continue;
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            int q = p + i / 2 * 8 + 2 * t + i % 2;
            b[i] = h_columns[q * h_stride + c + g];
            b_masked[i] = from_float<T>(to_float(b[i]) * row[q]);
          }
          multiply(sum[0][n], a, b);
          multiply(sum[1][n], a, b_masked);
        }
      }
    if (c0 == 0 && int(threadIdx.x) < g_at.channels)
      for (int p = 0; p < count; ++p) {
        float x = to_float(g_columns[p * g_stride + threadIdx.x]);
        terms[0] += x * row[s.tile + p];
        terms[1] += x * row[s.tile + p] * row[p];
        terms[2] += x;
      }
    __syncthreads();
  }
  Out<float> part = parts + (face * gridDim.x + blockIdx.x) * outputs * width;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    int o = o0 + o_tile + i % 4 / 2 * 8 + g, c = c0 + c_tile + i / 4 % 4 * 8 + 2 * t + i % 2;
    if (o < outputs && c < channels)
      store(part + (i64(o) * width + i / 16 * channels + c), sum[i / 16][i / 4 % 4][i % 4]);
  }
  if (c0 == 0 && int(threadIdx.x) < g_at.channels)
    for (int i = 0; i < 3; ++i) store(part + (i64(o0 + threadIdx.x) * width + 2 * channels + i), terms[i]);
}
