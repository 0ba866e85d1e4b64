// Compiled once for AVX512-BF16 and once for its emulation: fills the table of the bfloat16 engine's own kernels.
#include "bf16.h"
#include "kernels.h"

namespace acdc::ACDC_ISA_NS {

#define ACDC_DECLARE(name, arguments) void name arguments;
ACDC_KERNELS(ACDC_DECLARE)

namespace {

void dot(const float* sum, const uint16_t* a, const uint16_t* b, float* out, int64_t n) {
  const FlushDenormals guard;
  for (int64_t i = 0; i < n; i += Vec::lanes) {
    dot_bf16(Vec::load(sum + i), Pairs::load(a + 2 * i), Pairs::load(b + 2 * i)).store(out + i);
  }
}

void round(const float* x, uint16_t* y, int64_t n) {
  const FlushDenormals guard;
  for (int64_t i = 0; i < n; i += Vec::lanes) store(Vec::load(x + i), y + i);
}

}  // namespace

extern const Bf16Kernels bf16_table;
#if defined(ACDC_ISA_AVX512BF16_EMULATED)
const Bf16Kernels bf16_table = {"avx512bf16-emulated", conv_input, conv_product, conv_output, dot, round};
#else
const Bf16Kernels bf16_table = {"avx512bf16", conv_input, conv_product, conv_output, dot, round};
#endif

}  // namespace acdc::ACDC_ISA_NS
