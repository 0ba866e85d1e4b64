// Arguments of the training ops' kernels. Plain data: filled by bindings_ops.cpp, which checks it, and read by every
// instruction set's kernels. Images are channels last, (B, H, W, C); pixel p = y·W + x.
#pragma once

#include <cstdint>

namespace acdc {

// Statistics of B·L maps, in the layout of docs/adding-a-kernel.md.
struct MapStatistics {
  float *mean, *covariance, *peak, *high, *low;
  int32_t *argmax, *argmin;
};

// One stream of the geometry transfer network and the lanes its maps occupy: each stream starts a new vector.
struct Stream {
  int64_t channel;      // first of the K channels it reads
  int64_t map, maps;    // its maps among all L
  int64_t slot, slots;  // its lanes among all slots, a multiple of the vector's lanes
};

struct GeometryShape {
  int64_t batch, height, width, channels, k, maps, slots;
  int64_t block_rows, blocks;  // a task is one block of rows of one face
  int streams, threads;
  Stream stream[2];
};

struct GeometryForward {
  GeometryShape shape;
  const float *embedding, *depthwise, *transfer;
  const uint8_t* masked;  // (L,)
  MapStatistics maps;
  float* mask;
  int32_t* winner;
  float* scratch;  // geometry_forward_scratch(shape) floats
};

struct GeometryBackward {
  GeometryShape shape;
  const float *grad_mean, *grad_covariance, *grad_peak, *grad_mask;
  const float *embedding, *depthwise, *transfer, *mask;
  MapStatistics maps;
  const int32_t* winner;
  float *grad_embedding, *grad_depthwise, *grad_transfer;
  float* scratch;  // geometry_backward_scratch(shape) floats
};

// x(p) = bias + M_1·[image; embedding](p) + mask(p)·M_2·[image; embedding](p), with per face folded = (M_1, M_2) as
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
  const float *folded, *folded_transposed;  // (B, 2, 1 + C, O), (B, 2, O, 1 + C)
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
