// Eq. 5 and 6: f(Ω) ⊙ [I, I⊙Φ, H, H⊙Φ], over NCHW images. Image and mask have one float channel each.
#pragma once
#include "device.cuh"

// grid: (pixels / (256·V), 1 + channels, batch). Channel 0 is the image, written as channels 0 and 1.
template <class T>
__global__ __launch_bounds__(256) void dual_fusion_forward(In<float> image, In<T> embedding, In<float> mask,
                                                           In<float> excitation, Out<T> fused, int channels, int pixels,
                                                           int wide) {
  constexpr int V = Pack<T>::size;
  i64 face = blockIdx.z, first = i64(blockIdx.x * blockDim.x + threadIdx.x) * V;
  int c = blockIdx.y - 1, width = 2 + 2 * channels, plain = c < 0 ? 0 : 2 + c, masked = c < 0 ? 1 : 2 + channels + c;
  if (first >= pixels) return;
  float f = load(excitation + (face * width + plain)), f_masked = load(excitation + (face * width + masked));
  i64 count = pixels - first, o_pixel = face * pixels + first;
  Pack<T> h, out, out_masked;
  if (c >= 0) h = load_pack<T>(embedding + ((face * channels + c) * pixels + first), count, wide);
#pragma unroll
  for (int i = 0; i < V; ++i)
    if (i < count) {
      float x = c < 0 ? load(image + (o_pixel + i)) : to_float(h.v[i]);
      out.v[i] = from_float<T>(f * x);
      out_masked.v[i] = from_float<T>(f_masked * x * load(mask + (o_pixel + i)));
    }
  store_pack<T>(fused + ((face * width + plain) * pixels + first), out, count, wide);
  store_pack<T>(fused + ((face * width + masked) * pixels + first), out_masked, count, wide);
}

// grid: (pixels / (256·V), batch). One block takes all channels of its pixels, so it has the mask's gradient alone. The
// excitation's gradient is a sum over blocks: parts (batch, gridDim.x, 2 + 2·channels).
template <class T>
__global__ __launch_bounds__(256) void dual_fusion_backward(In<T> grad_fused, In<float> image, In<T> embedding,
                                                            In<float> mask, In<float> excitation, Out<float> grad_image,
                                                            Out<T> grad_embedding, Out<float> grad_mask,
                                                            Out<float> parts, int channels, int pixels, int wide) {
  constexpr int V = Pack<T>::size;
  i64 face = blockIdx.y, first = i64(blockIdx.x * blockDim.x + threadIdx.x) * V, count = pixels - first;
  int width = 2 + 2 * channels, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (count < 0) first = 0, count = 0;
  Shared shared;
  float* sums = shared.take<float>(8 * width);  // (warp, width)
  float phi[V], g_phi[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    phi[i] = i < count ? load(mask + (face * pixels + first + i)) : 0.f;
    g_phi[i] = 0.f;
  }
#pragma unroll 2
  for (int c = -1; c < channels; ++c) {
    int plain = c < 0 ? 0 : 2 + c, masked = c < 0 ? 1 : 2 + channels + c;
    float f = load(excitation + (face * width + plain)), f_masked = load(excitation + (face * width + masked));
    Pack<T> g = load_pack<T>(grad_fused + ((face * width + plain) * pixels + first), count, wide);
    Pack<T> g_masked = load_pack<T>(grad_fused + ((face * width + masked) * pixels + first), count, wide);
    Pack<T> h, out;
    if (c >= 0) h = load_pack<T>(embedding + ((face * channels + c) * pixels + first), count, wide);
    float sum = 0.f, sum_masked = 0.f;
#pragma unroll
    for (int i = 0; i < V; ++i)
      if (i < count) {
        float x = c < 0 ? load(image + (face * pixels + first + i)) : to_float(h.v[i]);
        float a = to_float(g.v[i]), b = to_float(g_masked.v[i]), gradient = f * a + f_masked * phi[i] * b;
        sum += x * a;
        sum_masked += x * phi[i] * b;
        g_phi[i] += f_masked * x * b;
        if (c >= 0)
          out.v[i] = from_float<T>(gradient);
        else
          store(grad_image + (face * pixels + first + i), gradient);
      }
    if (c >= 0) store_pack<T>(grad_embedding + ((face * channels + c) * pixels + first), out, count, wide);
    sum = warp_sum(sum);
    sum_masked = warp_sum(sum_masked);
    if (lane == 0) {
      sums[warp * width + plain] = sum;
      sums[warp * width + masked] = sum_masked;
    }
  }
#pragma unroll
  for (int i = 0; i < V; ++i)
    if (i < count) store(grad_mask + (face * pixels + first + i), g_phi[i]);
  __syncthreads();
  for (int k = threadIdx.x; k < width; k += blockDim.x) {
    float sum = 0.f;
    for (int w = 0; w < 8; ++w) sum += sums[w * width + k];
    store(parts + ((face * gridDim.x + blockIdx.x) * width + k), sum);
  }
}
