// Compiled once for each instruction set: fills its table.
#include "gemm.h"
#include "isa.h"
#include "kernels.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {

#define ACDC_DECLARE(name, arguments) void name arguments;
ACDC_KERNELS(ACDC_DECLARE)

void vec_exp(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += Vec::lanes) {
    const int count = n - i < Vec::lanes ? static_cast<int>(n - i) : Vec::lanes;
    exp(Vec::load(x + i, count)).store(y + i, count);
  }
}

void fma_rounds(int64_t rounds, float* result) {
  constexpr int kChains = 12;  // latency 4 on two ports needs 8 sums; twelve fit the smallest register file
  Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = Vec::broadcast(static_cast<float>(i));
  const Vec a = Vec::broadcast(0.999f), b = Vec::broadcast(0.1f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = fma(sum[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
  *result = reduce_add(sum[0]);
}

#define ACDC_TEXT_(x) #x
#define ACDC_TEXT(x) ACDC_TEXT_(x)
#define ACDC_ENTRY(name, arguments) name,
extern const Kernels table;
const Kernels table = {ACDC_TEXT(ACDC_ISA_NS),  Vec::lanes, kPanel, kLandmarkPanel, sizeof(float), false,
                       ACDC_KERNELS(ACDC_ENTRY)};

}  // namespace acdc::ACDC_ISA_NS
