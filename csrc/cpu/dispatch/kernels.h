// The table of kernels that each instruction set fills, and the choice between the tables.
//
// A new kernel is one line here, and one .cpp that defines it in namespace acdc::ACDC_ISA_NS. Results of the training
// ops: docs/reference/op-contract.md.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "detector_types.h"
#include "engine_types.h"
#include "training_ops.h"

#define ACDC_KERNELS(KERNEL)                                                                                          \
  /* y = exp(x), n floats: vec.h's exponential, for its test */                                                       \
  KERNEL(vec_exp, (const float* x, float* y, int64_t n))                                                              \
  /* the training ops */                                                                                              \
  KERNEL(spatial_softmax_forward, (const LogitMaps& a, const MapStatistics& out))                                     \
  KERNEL(spatial_softmax_backward, (const SoftmaxBackward& a))                                                        \
  KERNEL(attention_mask_forward, (const LogitMaps& a, const MapStatistics& maps, float* mask, int32_t* winner))       \
  KERNEL(attention_mask_backward,                                                                                     \
         (const LogitMaps& a, const float* grad_mask, const float* mask, const int32_t* winner,                       \
          const MapStatistics& maps, float* spikes, float* grad_logits))                                              \
  KERNEL(dual_fusion_forward, (const Fusion& a))                                                                      \
  KERNEL(dual_fusion_backward, (const FusionBackward& a))                                                             \
  KERNEL(dual_fusion_conv1x1_forward, (const FusionConvForward& a))                                                   \
  KERNEL(dual_fusion_conv1x1_backward, (const FusionConvBackward& a))                                                 \
  KERNEL(batch_norm_relu_forward, (const BatchNorm& s, const void* x, const float* weight, const float* bias,         \
                                   float eps, void* y, float* mean, float* variance))                                 \
  KERNEL(batch_norm_relu_backward,                                                                                    \
         (const BatchNorm& s, const void* grad, const void* x, const float* weight, const float* bias,                \
          const float* mean, const float* variance, float eps, void* grad_x, float* grad_weight, float* grad_bias))   \
  KERNEL(geometry_transfer_forward, (const GeometryForward& a))                                                       \
  KERNEL(geometry_transfer_backward, (const GeometryBackward& a))                                                     \
  /* `rounds` of twelve independent multiply-adds on whole registers: the machine's peak, for bench/roofline.py */    \
  KERNEL(fma_rounds, (int64_t rounds, float* result))                                                                 \
  /* The engine's layers, each on a part of its work: engine_types.h */                                               \
  KERNEL(conv_input, (const Conv& conv, const Tensor& in, int columns, const TileBlock& block, int from, int to))     \
  KERNEL(conv_product, (const Conv& conv, int first_group, int last_group, const TileBlock& block))                   \
  KERNEL(conv_output, (const Conv& conv, const Tensor& out, int columns, const TileBlock& block, int from, int to))   \
  KERNEL(landmark_seed, (const Landmarks& net, const float* peak, float* scratch, float* low, float* high))           \
  KERNEL(landmark_extremes,                                                                                           \
         (const Landmarks& net, int first_row, int last_row, float* scratch, float* low, float* high, float* peak))   \
  KERNEL(landmark_levels,                                                                                             \
         (const float* low, const float* high, const unsigned char* masked, int maps, float* scale, float* shift))    \
  KERNEL(landmark_moments, (const Landmarks& net, int first_row, int last_row, const Levels& levels, float* scratch,  \
                            double* total, float* mask))                                                              \
  KERNEL(stem_encode1, (const FirstLayer& layer, int first_row, int last_row))                                        \
  KERNEL(stem_fused, (const Stem& stem, int first_row, int last_row))                                                 \
  /* The detector's layers, one row of `width` pixels each: detector_types.h. `out` of detector_picture and `in` of   \
     detector_stem have a zero before and behind their pixels; `in` of detector_pointwise has none. */                \
  KERNEL(detector_picture, (const uint8_t* grey, int width, float* out))                                              \
  KERNEL(detector_stem, (const DetectorStem& layer, const float* const in[3], int width, const DetectorRow& out))     \
  KERNEL(detector_pointwise,                                                                                          \
         (const DetectorPointwise& layer, const float* in, int64_t in_pitch, int width, const DetectorRow& out))      \
  KERNEL(detector_block, (const DetectorBlock& layer, const DetectorRow in[3], int width, float* scratch,             \
                          int64_t scratch_pitch, const DetectorRow& out))                                             \
  KERNEL(detector_add,                                                                                                \
         (const DetectorRow& fine, const DetectorRow& coarse, int blocks, int width, const DetectorRow& out))         \
  /* (width) mean greys of factor² pixels from rows `pitch` bytes apart, of one grey or three RGB channels; columns: \
     (width · factor · channels) of scratch */                                                                      \
  KERNEL(shrink_row,                                                                                                  \
         (const uint8_t* rows, int64_t pitch, int channels, int factor, int width, uint16_t* columns, uint8_t* grey))

namespace acdc {

#define ACDC_FIELD(name, arguments) void(*name) arguments;
struct Kernels {
  const char* isa;
  int lanes;
  int panel, landmark_panel;  // vectors in a panel of packed right operands: gemm.h
  int value_bytes;            // of the numbers that convolutions multiply: 4, or 2 for bfloat16
  bool whole_blocks;          // products take whole vectors of input channels: zeros fill their weights up
  ACDC_KERNELS(ACDC_FIELD)
};

// The bfloat16 engine's own kernels. All others are AVX-512's.
struct Bf16Kernels {
  const char* isa;
  bool whole_blocks;
  decltype(Kernels::conv_input) conv_input;
  decltype(Kernels::conv_product) conv_product;
  decltype(Kernels::conv_output) conv_output;
  // For tests, n a multiple of 16: out = sum + a₁·b₁ + a₀·b₀ on pairs; y = x rounded.
  void (*dot)(const float* sum, const uint16_t* a, const uint16_t* b, float* out, int64_t n);
  void (*round)(const float* x, uint16_t* y, int64_t n);
  // For tests: one product of AMX tiles, out (rows, 16) = a (rows, inner) · b (inner / 2, 16, 2). Null without AMX.
  void (*tile)(int rows, int inner, const uint16_t* a, const uint16_t* b, float* out);
};
#undef ACDC_FIELD

// A backend that was named cannot run. The message gives reason and remedy. In Python: acdc_fast.BackendUnavailable.
struct BackendUnavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The kernels of one instruction set, by name. "" means ACDC_ISA from the environment, or else the best of this CPU.
// Throws BackendUnavailable.
const Kernels& kernels(const std::string& isa = "");

// Names of the instruction sets that this library holds and this CPU supports, best first.
std::vector<std::string> available_isas();

// The kernels of the bfloat16 engine: "avx512amx" where the CPU has AMX, else "avx512bf16". Each with "-emulated"
// behind it is for tests: it computes the same on any AVX-512, far slower, and is used only if it is named. For these
// names, kernels() returns AVX-512's. Throws BackendUnavailable.
const Kernels& bf16_kernels(const std::string& isa = "");
const Bf16Kernels& bf16_parts(const std::string& isa = "");
std::vector<std::string> available_bf16_isas();  // best first
bool is_bf16(const std::string& isa);

// `isa`, or else ACDC_ISA from the environment, or else "".
std::string wanted_isa(const std::string& isa);

}  // namespace acdc
