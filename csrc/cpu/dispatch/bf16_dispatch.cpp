// Chooses between the kernels of the bfloat16 engine: AMX's, AVX512-BF16's, and their emulations.
#include <algorithm>

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

constexpr const char* kEmulated = "-emulated";

struct Choice {
  const char* name;
  const Bf16Kernels* table;  // null: not in this build
  bool served;               // whether this CPU and operating system support it
};

bool have_avx512() {
  const std::vector<std::string> usable = available_isas();
  return std::find(usable.begin(), usable.end(), "avx512") != usable.end();
}

// Best first.
std::vector<Choice> choices() {
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
  return {{"avx512amx", amx, has_amx},
          {"avx512bf16", bf16, has_bf16},
          {"avx512amx-emulated", emulated_amx, avx512},
          {"avx512bf16-emulated", emulated_bf16, avx512}};
}

bool emulated(const std::string& name) { return name.find(kEmulated) != std::string::npos; }

}  // namespace

bool is_bf16(const std::string& isa) {
  for (const Choice& c : choices()) {
    if (isa == c.name) return true;
  }
  return false;
}

std::vector<std::string> available_bf16_isas() {
  std::vector<std::string> out;
  for (const Choice& c : choices()) {
    if (c.table && c.served) out.push_back(c.name);
  }
  return out;
}

const Bf16Kernels& bf16_parts(const std::string& isa) {
  const std::string wanted = wanted_isa(isa);
  std::string name = "avx512bf16", why = "this CPU does not have it";
  for (const Choice& c : choices()) {
    const bool meant = wanted.empty() ? !emulated(c.name) : wanted == c.name;
    if (meant && c.table && c.served) return *c.table;
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
    for (const Choice& c : choices()) {
      if (!c.table || !c.served) continue;
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
