// Compiled once for AVX512-BF16, once for AMX, and once for each one's emulation: fills the table of the bfloat16
// engine's own kernels.
#include "bf16.h"
#include "kernels.h"
#if defined(ACDC_ISA_AVX512AMX)
#include "amx.h"
#endif

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

#if defined(ACDC_ISA_AVX512AMX)
void tile(int rows, int inner, const uint16_t* a, const uint16_t* b, float* out) {
  const FlushDenormals guard;
  Tiles tiles(rows, inner);
  tiles.clear<0, 0>();
  tiles.left<0>(a, inner);
  tiles.right<0>(b, 2 * Vec::lanes);
  tiles.multiply<0, 0>();
  tiles.store<0, 0>(out);
}
constexpr bool kWholeBlocks = true;
#else
constexpr decltype(Bf16Kernels::tile) tile = nullptr;
constexpr bool kWholeBlocks = false;
#endif

#if defined(ACDC_ISA_AVX512AMX_EMULATED)
constexpr const char* kName = "avx512amx-emulated";
#elif defined(ACDC_ISA_AVX512AMX)
constexpr const char* kName = "avx512amx";
#elif defined(ACDC_ISA_AVX512BF16_EMULATED)
constexpr const char* kName = "avx512bf16-emulated";
#else
constexpr const char* kName = "avx512bf16";
#endif

}  // namespace

extern const Bf16Kernels bf16_table;
const Bf16Kernels bf16_table = {kName, kWholeBlocks, conv_input, conv_product, conv_output, dot, round, tile};

}  // namespace acdc::ACDC_ISA_NS
