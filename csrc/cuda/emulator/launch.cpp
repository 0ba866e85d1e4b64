// The list of kernels, and their launch on the emulator, in place of launch.cu.
#include "../device.cuh"
//
#include <cstdlib>
#include <map>
#include <tuple>

#include "../launch.h"
#include "../table.h"

namespace {
using Call = std::function<void(void**)>;
std::map<std::string, Call> calls;

template <class A>
struct Pointers : std::integral_constant<std::size_t, 0> {};
template <class T>
struct Pointers<In<T>> : std::integral_constant<std::size_t, 1> {};
template <class T>
struct Pointers<Out<T>> : std::integral_constant<std::size_t, 1> {};
template <>
struct Pointers<MapOutputs> : std::integral_constant<std::size_t, sizeof(MapOutputs) / sizeof(void*)> {};
template <>
struct Pointers<MapGradients> : std::integral_constant<std::size_t, sizeof(MapGradients) / sizeof(void*)> {};

template <class... A, std::size_t... I>
Call unpack(void (*kernel)(A...), std::index_sequence<I...>) {
  return [kernel](void** arguments) { kernel(*static_cast<A*>(arguments[I])...); };
}
template <class... A>
Entry entry(const char* name, void (*kernel)(A...)) {
  calls[name] = unpack(kernel, std::index_sequence_for<A...>());
  return {name, nullptr, {Argument{sizeof(A), Pointers<A>::value}...}};
}
std::uint64_t seed = 0;
}  // namespace

#ifdef EMULATOR_HALF_ALONE  // quicker to compile under a sanitizer
#define ACDC_TYPED(kernel) entry(#kernel "<half_t>", kernel<half_t>),
#else
#define ACDC_TYPED(kernel)                                                            \
  entry(#kernel "<float>", kernel<float>), entry(#kernel "<half_t>", kernel<half_t>), \
      entry(#kernel "<bf16_t>", kernel<bf16_t>),
#endif
#define ACDC_PLAIN(kernel) entry(#kernel "<float>", kernel<float>),

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = {ACDC_TYPED_KERNELS(ACDC_TYPED) ACDC_PLAIN_KERNELS(ACDC_PLAIN)};
  return all;
}

std::string check_pointer(const void*, int) { return ""; }

std::string launch_kernel(const Entry& entry, const LaunchShape& s, void** arguments) {
  const Call& call = calls.at(entry.name);
  emulator::launch(entry.name, {s.grid[0], s.grid[1], s.grid[2]}, {s.block, 1, 1}, s.shared, seed++,
                   [&] { call(arguments); });
  return "";
}

extern "C" {
void emulator_reset(std::uint64_t new_seed) {
  seed = new_seed;
  emulator::counts = {};
}
void emulator_last_slice(int alone) { emulator::last_slice_alone = alone; }
std::int64_t emulator_loaded() { return emulator::counts.loaded; }
std::int64_t emulator_stored() { return emulator::counts.stored; }
}
