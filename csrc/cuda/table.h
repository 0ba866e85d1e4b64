// The list of kernels, by name: one list for nvcc, NVRTC and the emulator.
#pragma once
#include "attention_mask.cuh"
#include "cascade_transition.cuh"
#include "dual_fusion.cuh"
#include "dual_fusion_conv1x1.cuh"
#include "dual_fusion_conv1x1_backward.cuh"
#include "geometry_transfer.cuh"
#include "geometry_transfer_backward.cuh"
#include "spatial_softmax.cuh"

#define ACDC_TYPED_KERNELS(X)     \
  X(spatial_softmax_forward)      \
  X(spatial_softmax_backward)     \
  X(attention_mask_forward)       \
  X(attention_mask_backward)      \
  X(dual_fusion_forward)          \
  X(dual_fusion_backward)         \
  X(dual_fusion_conv1x1_forward)  \
  X(dual_fusion_conv1x1_backward) \
  X(dual_fusion_conv1x1_weights)  \
  X(geometry_transfer_statistics) \
  X(geometry_transfer_mask)       \
  X(geometry_transfer_stem)       \
  X(geometry_transfer_gradient)   \
  X(depthwise_backward_input)     \
  X(depthwise_backward_weight)

#define ACDC_PLAIN_KERNELS(X) \
  X(attention_mask_extremes)  \
  X(geometry_transfer_combine)
