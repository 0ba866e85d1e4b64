// From one stage to the next in one pass over H: mask, fusion, excitation and the next U-Net's stem.
#pragma once
#include "geometry_transfer.cuh"

// grid: (strips, 1, batch). In: H, image, statistics, excitation. Out: the next stem's output, and the mask.
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
    T* staged = strip.depth;  // free again: the logits are computed
    stem.run(strip.row(y) + strip.stride, grey, phi, staged, stage_step_p(stem_shape, out_at),
             stage_step_o(stem_shape, out_at));
    __syncthreads();
    store_stem(staged, stem_shape, out + face * s.height * s.width * stem_shape.outputs, out_at, first, count);
  }
}
