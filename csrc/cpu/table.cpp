// Compiled once per instruction set: fills its table.
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

#define ACDC_TEXT_(x) #x
#define ACDC_TEXT(x) ACDC_TEXT_(x)
#define ACDC_ENTRY(name, arguments) name,
extern const Kernels table;
const Kernels table = {ACDC_TEXT(ACDC_ISA_NS), Vec::lanes, kPanel, kLandmarkPanel, ACDC_KERNELS(ACDC_ENTRY)};

}  // namespace acdc::ACDC_ISA_NS
