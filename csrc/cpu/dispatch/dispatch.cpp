#include <cstdlib>

#include "choice.h"
#include "cpu_features.h"
#include "kernels.h"

namespace acdc {

#ifdef ACDC_HAS_AVX512
namespace avx512 {
extern const Kernels table;
}
#endif
#ifdef ACDC_HAS_AVX2
namespace avx2 {
extern const Kernels table;
}
#endif
#ifdef ACDC_HAS_NEON
namespace neon {
extern const Kernels table;
}
#endif
namespace scalar {
extern const Kernels table;
}

namespace {

std::vector<Choice<Kernels>> find_choices() {
  std::vector<Choice<Kernels>> out;
  bool avx512 = false, avx2 = false;
  const Kernels *table512 = nullptr, *table2 = nullptr, *neon = nullptr;
#if defined(ACDC_EMULATED)  // for tests: plain C++, which every CPU serves
  avx2 = avx512 = true;
#elif defined(__x86_64__)
  const CpuFeatures cpu = cpu_features();
  avx2 = cpu.avx2, avx512 = cpu.avx512;
#endif
#ifdef ACDC_HAS_AVX512
  table512 = &avx512::table;
#endif
#ifdef ACDC_HAS_AVX2
  table2 = &avx2::table;
#endif
#ifdef ACDC_HAS_NEON
  neon = &neon::table;
#endif
  out.push_back({"avx512", table512, avx512});
  out.push_back({"avx2", table2, avx2});
  out.push_back({"neon", neon, neon != nullptr});
  out.push_back({"scalar", &scalar::table, true});
  return out;
}

// Best first. Found once: asking the CPU takes microseconds, in a virtual machine tens of them.
const std::vector<Choice<Kernels>>& choices() {
  static const std::vector<Choice<Kernels>> found = find_choices();
  return found;
}

}  // namespace

std::string wanted_isa(const std::string& isa) {
  const char* forced = std::getenv("ACDC_ISA");
  return isa.empty() && forced ? forced : isa;
}

std::vector<std::string> available_isas() { return names_of(choices()); }

const Kernels& kernels(const std::string& isa) {
  std::string wanted = wanted_isa(isa), known;
  if (is_bf16(wanted)) {
    bf16_parts(wanted);  // throws if it cannot run
    wanted = "avx512";
  }
  for (const Choice<Kernels>& c : choices()) {
    if (c.fits() && (wanted.empty() || wanted == c.name)) return *c.table;
    if (wanted == c.name) {
      const char* why = c.table ? "this CPU does not have it" : "this build of acdc_fast does not contain it";
      throw BackendUnavailable("instruction set " + wanted + " was asked for, but " + why + ". Unset ACDC_ISA to let " +
                               "acdc_fast choose (it would take " + available_isas().front() + ").");
    }
    known += (known.empty() ? "" : ", ") + std::string(c.name);
  }
  throw BackendUnavailable("unknown instruction set '" + wanted + "' (ACDC_ISA or isa=): choose one of " + known + ".");
}

}  // namespace acdc
