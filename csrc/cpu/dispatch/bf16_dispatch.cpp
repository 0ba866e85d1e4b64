// Chooses between the kernels of the bfloat16 engine: AMX's, AVX512-BF16's, and their emulations.
#include <algorithm>

#include "choice.h"
#include "cpu_features.h"
#include "kernels.h"

namespace acdc {

#ifdef ACDC_HAS_AVX512AMX
namespace avx512amx {
extern const Bf16Kernels bf16_table;
}
#endif
#ifdef ACDC_HAS_AVX512BF16
namespace avx512bf16 {
extern const Bf16Kernels bf16_table;
}
#endif
#ifdef ACDC_HAS_AVX512BF16_EMULATED
namespace avx512bf16_emulated {
extern const Bf16Kernels bf16_table;
}
namespace avx512amx_emulated {
extern const Bf16Kernels bf16_table;
}
#endif

namespace {

constexpr const char *kAmx = "avx512amx", *kBf16 = "avx512bf16", *kAmxEmulated = "avx512amx-emulated",
                     *kBf16Emulated = "avx512bf16-emulated";

bool have_avx512() {
  const std::vector<std::string> usable = available_isas();
  return std::find(usable.begin(), usable.end(), "avx512") != usable.end();
}

std::vector<Choice<Bf16Kernels>> find_choices() {
  const Bf16Kernels *amx = nullptr, *bf16 = nullptr, *emulated_amx = nullptr, *emulated_bf16 = nullptr;
  bool has_amx = false, has_bf16 = false;
  const bool avx512 = have_avx512();
#if defined(ACDC_EMULATED)  // for tests: plain C++, which every CPU serves
  has_bf16 = avx512;
#elif defined(__x86_64__)
  has_bf16 = avx512 && cpu_features().avx512bf16;
#endif
#ifdef ACDC_HAS_AVX512AMX
  amx = &avx512amx::bf16_table;
  has_amx = has_bf16 && amx_allowed();
#endif
#ifdef ACDC_HAS_AVX512BF16
  bf16 = &avx512bf16::bf16_table;
#endif
#ifdef ACDC_HAS_AVX512BF16_EMULATED
  emulated_amx = &avx512amx_emulated::bf16_table, emulated_bf16 = &avx512bf16_emulated::bf16_table;
#endif
  return {{kAmx, amx, has_amx},
          {kBf16, bf16, has_bf16},
          {kAmxEmulated, emulated_amx, avx512},
          {kBf16Emulated, emulated_bf16, avx512}};
}

// Best first. Found once, and not before bfloat16 is wanted: the system is asked for AMX's tiles then.
const std::vector<Choice<Bf16Kernels>>& choices() {
  static const std::vector<Choice<Bf16Kernels>> found = find_choices();
  return found;
}

bool emulated(const std::string& name) { return name == kAmxEmulated || name == kBf16Emulated; }

}  // namespace

bool is_bf16(const std::string& isa) { return isa == kAmx || isa == kBf16 || emulated(isa); }

std::vector<std::string> available_bf16_isas() { return names_of(choices()); }

const Bf16Kernels& bf16_parts(const std::string& isa) {
  const std::string wanted = wanted_isa(isa);
  std::string name = kBf16, why = "this CPU does not have it";
  for (const Choice<Bf16Kernels>& c : choices()) {
    const bool meant = wanted.empty() ? !emulated(c.name) : wanted == c.name;
    if (meant && c.fits()) return *c.table;
    if (wanted == c.name) name = c.name;
    if (meant && !c.table) why = "this build of acdc_fast does not contain it";
  }
  if (emulated(name) && why.front() == 't') why += " (its emulation needs AVX-512)";
  if (!wanted.empty() && !is_bf16(wanted)) why = wanted + " was asked for (ACDC_ISA or isa=)";
  throw BackendUnavailable("backend 'native' computes in bfloat16 with the instruction set " + name + ", but " + why +
                           ". Use dtype='float32', or backend='eager' for bfloat16 by torch.");
}

const Kernels& bf16_kernels(const std::string& isa) {
  static const std::vector<Kernels> joined = [] {
    std::vector<Kernels> out;
    for (const Choice<Bf16Kernels>& c : choices()) {
      if (!c.fits()) continue;
      Kernels all = kernels("avx512");
      all.isa = c.table->isa;
      all.value_bytes = sizeof(uint16_t);
      all.whole_blocks = c.table->whole_blocks;
      all.conv_input = c.table->conv_input;
      all.conv_product = c.table->conv_product;
      all.conv_output = c.table->conv_output;
      out.push_back(all);
    }
    return out;
  }();
  const Bf16Kernels& own = bf16_parts(isa);
  return *std::find_if(joined.begin(), joined.end(), [&](const Kernels& k) { return k.isa == own.isa; });
}

}  // namespace acdc
