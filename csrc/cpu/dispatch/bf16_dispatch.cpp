// Chooses between the kernels of the bfloat16 engine and their emulation.
#include <algorithm>

#include "cpu_features.h"
#include "kernels.h"

namespace acdc {

#ifdef ACDC_HAS_AVX512BF16
namespace avx512bf16 {
extern const Bf16Kernels bf16_table;
}
namespace avx512bf16_emulated {
extern const Bf16Kernels bf16_table;
}
constexpr bool kBuilt = true;
#else
constexpr bool kBuilt = false;
#endif

namespace {

bool have_avx512() {
  const std::vector<std::string> usable = available_isas();
  return std::find(usable.begin(), usable.end(), "avx512") != usable.end();
}

bool have_bf16() {
#if defined(ACDC_EMULATED)
  return kBuilt && have_avx512();
#elif defined(ACDC_HAS_AVX512BF16)
  return have_avx512() && cpu_features().avx512bf16;
#else
  return false;
#endif
}

#ifdef ACDC_HAS_AVX512BF16
Kernels joined(const Bf16Kernels& own) {
  Kernels all = kernels("avx512");
  all.isa = own.isa;
  all.value_bytes = sizeof(uint16_t);
  all.conv_input = own.conv_input;
  all.conv_product = own.conv_product;
  all.conv_output = own.conv_output;
  return all;
}
#endif

}  // namespace

std::vector<std::string> available_bf16_isas() {
  std::vector<std::string> out;
  if (have_bf16()) out.push_back(kBf16);
  if (kBuilt && have_avx512()) out.push_back(kBf16Emulated);
  return out;
}

const Bf16Kernels& bf16_parts(const std::string& isa) {
  const std::string wanted = wanted_isa(isa);
#ifdef ACDC_HAS_AVX512BF16
  if ((wanted.empty() || wanted == kBf16) && have_bf16()) return avx512bf16::bf16_table;
  if (wanted == kBf16Emulated && have_avx512()) return avx512bf16_emulated::bf16_table;
#endif
  std::string why = "this CPU does not have it";
  if (!kBuilt) why = "this build of acdc_fast does not contain it";
  if (wanted == kBf16Emulated && kBuilt) why = "its emulation needs AVX-512, which this CPU does not have";
  if (!wanted.empty() && wanted != kBf16 && wanted != kBf16Emulated) why = wanted + " was asked for (ACDC_ISA or isa=)";
  throw BackendUnavailable("backend 'native' computes in bfloat16 with the instruction set avx512bf16, but " + why +
                           ". Use dtype='float32', or backend='eager' for bfloat16 by torch.");
}

const Kernels& bf16_kernels(const std::string& isa) {
  const Bf16Kernels& own = bf16_parts(isa);
#ifdef ACDC_HAS_AVX512BF16
  static const Kernels emulated = joined(avx512bf16_emulated::bf16_table);
  if (own.isa == emulated.isa) return emulated;
  static const Kernels real = joined(avx512bf16::bf16_table);
  return real;
#else
  return kernels(own.isa);  // not reached: bf16_parts throws
#endif
}

}  // namespace acdc
