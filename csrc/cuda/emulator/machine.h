// Shared by the emulator's own files. device.cuh has these types for the kernels.
#pragma once
using i64 = long long;
using u16 = unsigned short;
using u32 = unsigned int;
struct half_t {
  u16 bits;
};
template <class T>
struct alignas(16) Pack {
  T v[16 / sizeof(T)];
};
#include "emulator.h"

namespace emulator {
void fail(const std::string& what);  // the launch ends with the first failure
void ledger_reset();
}  // namespace emulator
