// The type of the numbers that convolutions multiply and activations store: float32, or bfloat16 if the file is
// compiled for it.
#pragma once

#include "vec.h"

#if defined(ACDC_ISA_AVX512BF16)
#include "bf16.h"
#endif

namespace acdc::ACDC_ISA_NS {

#if defined(ACDC_ISA_AVX512BF16)
using Value = bf16;
#else
using Value = float;
#endif

// Values that one step of a product takes: two bfloat16 numbers fill a lane.
template <class T>
constexpr int kPack = sizeof(float) / sizeof(T);

ACDC_INLINE Vec load(const float* p) { return Vec::load(p); }
ACDC_INLINE void store(Vec x, float* p) { x.store(p); }

}  // namespace acdc::ACDC_ISA_NS
