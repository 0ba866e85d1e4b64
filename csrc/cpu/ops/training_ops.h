// Arguments of the training ops' kernels. Plain data. bindings_maps.cpp and bindings_fusion.cpp fill and check it; the
// kernels of all instruction sets read it. Images are channels last, (B, H, W, C); pixel p = y·W + x.
#pragma once

#include <cstdint>

namespace acdc {

// Statistics of B·L maps, in the layout of docs/reference/op-contract.md.
struct MapStatistics {
  float *mean, *covariance, *peak, *high, *low;
  int32_t *argmax, *argmin;
};

// One stream of the geometry transfer network, and the lanes of its maps. Each stream starts a new vector.
struct Stream {
  int64_t channel;      // the first of its K channels
  int64_t map, maps;    // its maps among all L
  int64_t slot, slots;  // its lanes among all slots; a multiple of a vector's lanes
};

struct GeometryShape {
  int64_t batch, height, width, channels, k, maps, slots;
  int64_t lanes, padded;       // floats of a vector; K in whole vectors
  int64_t block_rows, blocks;  // a task is one block of rows of one face
  int streams, threads;
  Stream stream[2];

  int64_t tasks() const { return batch * blocks; }
};

// Scratch memory of the kernels of geometry_transfer: offsets in floats.
struct GeometryLayout {
  // both: taps (S, K/lanes, 9, lanes); transfer in panels (gemm.h); a row of zeros
  int64_t taps, transfer, zeros;
  int64_t table;                      // (B, numbers, slots)
  int64_t partial, partial_floats;    // (tasks, partial_floats)
  int64_t per_thread, thread_floats;  // (threads, thread_floats)
  // backward only: transfer's rows (K/lanes, slots, lanes); for each face and map rise and the mask's gradient at the
  // extremes (B, 3, L); whether a panel of maps has a gradient of moments (B, slots/lanes); gradient of the depthwise
  // features (S, B, H, W, padded); sums over tasks in double precision (partial_floats)
  int64_t rows, spikes, active, grad_features, sums;
  int64_t total;
};

constexpr int kGeometryStrip = 32;  // pixels of a row in one step; a multiple of the product's rows

#define ACDC_ALWAYS inline __attribute__((always_inline))

// Takes `floats` from the end of the layout, rounded up to 64 bytes.
ACDC_ALWAYS int64_t lay_out(GeometryLayout& l, int64_t floats) {
  const int64_t at = l.total;
  l.total += (floats + 15) / 16 * 16;
  return at;
}

ACDC_ALWAYS int64_t zeros_width(const GeometryShape& s) { return s.channels > s.padded ? s.channels : s.padded; }

ACDC_ALWAYS GeometryLayout geometry_layout(const GeometryShape& s, int64_t numbers, int64_t partial_floats) {
  GeometryLayout l = {};
  l.taps = lay_out(l, s.streams * 9 * s.padded);
  l.transfer = lay_out(l, s.k * s.slots);
  l.zeros = lay_out(l, s.width * zeros_width(s));
  l.table = lay_out(l, s.batch * numbers * s.slots);
  l.partial_floats = partial_floats;
  l.partial = lay_out(l, s.tasks() * partial_floats);
  return l;
}

constexpr int kGeometryForwardNumbers = 6, kGeometryBackwardNumbers = 9;  // of each map

ACDC_ALWAYS GeometryLayout geometry_forward_layout(const GeometryShape& s) {
  GeometryLayout l = geometry_layout(s, kGeometryForwardNumbers, 6 * s.slots);
  l.thread_floats = kGeometryStrip * (s.padded + 2 * s.lanes);
  l.per_thread = lay_out(l, s.threads * l.thread_floats);
  return l;
}

// A task's partial sums: the gradient of transfer in panels, then by map (L, padded), then that of depthwise.
ACDC_ALWAYS GeometryLayout geometry_backward_layout(const GeometryShape& s) {
  GeometryLayout l = geometry_layout(s, kGeometryBackwardNumbers, s.k * s.slots + (s.maps + 9 * s.streams) * s.padded);
  l.rows = lay_out(l, s.slots * s.padded);
  l.spikes = lay_out(l, s.batch * 3 * s.maps);
  l.active = lay_out(l, s.batch * s.slots / s.lanes);
  l.grad_features = lay_out(l, s.streams * s.batch * s.height * s.width * s.padded);
  l.sums = lay_out(l, 2 * l.partial_floats);
  l.thread_floats = kGeometryStrip * (2 * s.padded + 3 * s.lanes) + (12 * s.maps + 15) / 16 * 16;
  l.per_thread = lay_out(l, s.threads * l.thread_floats);
  return l;
}

struct GeometryForward {
  GeometryShape shape;
  const float *embedding, *depthwise, *transfer;
  const uint8_t* masked;  // (L,)
  MapStatistics maps;
  float* mask;
  int32_t* winner;
  float* scratch;  // geometry_forward_layout(shape).total floats
};

struct GeometryBackward {
  GeometryShape shape;
  const float *grad_mean, *grad_covariance, *grad_peak, *grad_mask;
  const float *embedding, *depthwise, *transfer, *mask;
  MapStatistics maps;
  const int32_t* winner;
  float *grad_embedding, *grad_depthwise, *grad_transfer;
  float* scratch;  // geometry_backward_layout(shape).total floats
};

// x(p) = bias + M_1·[image; embedding](p) + mask(p)·M_2·[image; embedding](p). For each face (M_1, M_2) is in folded,
// (B, 2, 1 + C, O).
struct FusionConvForward {
  int64_t batch, pixels, channels, outputs;
  int threads;
  const float *image, *embedding, *mask, *folded, *bias;
  float* out;
};

struct FusionConvBackward {
  int64_t batch, pixels, channels, outputs, block_pixels, blocks;
  int threads;
  const float *grad_out, *image, *embedding, *mask;
  const float *folded, *folded_transposed;         // (B, 2, 1 + C, O), (B, 2, O, 1 + C)
  float *grad_image, *grad_embedding, *grad_mask;  // grad_image may be null
  float *grad_folded, *grad_bias;                  // (B, 2, 1 + C, O), (O,)
  float* scratch;                                  // batch · blocks · (2·(1 + C) + 1) · O floats
};

// f ⊙ [image, image·mask, embedding, embedding·mask], (B, P, 2 + 2C)
struct Fusion {
  int64_t batch, pixels, channels;
  int threads;
  const float *image, *embedding, *mask, *excitation;
  float* fused;
};

struct FusionBackward {
  int64_t batch, pixels, channels, block_pixels, blocks;
  int threads;
  const float *grad_fused, *image, *embedding, *mask, *excitation;
  float *grad_image, *grad_embedding, *grad_mask, *grad_excitation;  // grad_image may be null
  float* scratch;                                                    // batch · blocks · (2 + 2C) floats
};

// Batch norm on channels-last rows (P, C).
struct BatchNorm {
  int64_t pixels, channels, block_pixels, blocks;
  int threads;
  bool half;       // the rows are bfloat16, not float32
  float* scratch;  // (blocks, 2, C)
  float* table;    // (4, C)
};

// Maps of logits (B, L, H, W).
struct LogitMaps {
  int64_t batch, maps, height, width;
  int threads;
  const float* logits;
};

struct SoftmaxBackward {
  LogitMaps logits;
  const float *grad_mean, *grad_covariance, *grad_peak;
  MapStatistics maps;
  float* grad_logits;
};

}  // namespace acdc
