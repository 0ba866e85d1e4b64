// What the x86 CPU and the operating system support. Asked for with cpuid itself: `__builtin_cpu_supports` answers no
// to everything in libraries that zig links.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>

namespace acdc {

struct CpuFeatures {
  bool avx2 = false, avx512 = false, avx512bf16 = false, amx = false;  // avx2 with fma; avx512: F, VL, DQ, BW
};

inline CpuFeatures cpu_features() {
  const auto all = [](uint32_t word, uint32_t bits) { return (word & bits) == bits; };
  CpuFeatures out;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  constexpr uint32_t kFma = 1u << 12, kSavedByTheSystem = 1u << 27, kAvx = 1u << 28;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, kFma | kSavedByTheSystem | kAvx)) return out;
  uint32_t saved = 0, high = 0;  // registers that the operating system saves
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr uint32_t kYmm = 0x06, kZmm = 0xe6;
  if (!all(saved, kYmm) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return out;
  const uint32_t leaves = a;
  constexpr uint32_t kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  out.avx2 = all(b, kAvx2);
  out.avx512 = out.avx2 && all(saved, kZmm) && all(b, kF | kDq | kBw | kVl);
  constexpr uint32_t kBf16 = 1u << 5;
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kTiles = 0x60000;
  out.amx = out.avx512 && all(saved, kTiles) && all(d, kAmxBf16 | kAmxTile);
  out.avx512bf16 = out.avx512 && leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && all(a, kBf16);
  return out;
}

// Whether this process may use the tiles: Linux grants them to who asks, because they make its stack frames larger.
inline bool amx_allowed() {
#if defined(__linux__)
  constexpr long kAskFor = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of arch_prctl
  return cpu_features().amx && syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace acdc
#endif
