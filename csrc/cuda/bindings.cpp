// The door of the CUDA library, a C interface. All arguments are checked here, whoever calls.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>

#include "launch.h"

static std::string checked_launch(const char* name, const LaunchShape& s, void** arguments, const std::size_t* sizes,
                                  int count) {
  const Entry* entry = nullptr;
  for (const Entry& e : entries())
    if (!std::strcmp(e.name, name)) entry = &e;
  if (!entry) return "no such kernel";
  if (entry->arguments.size() != std::size_t(count))
    return "takes " + std::to_string(entry->arguments.size()) + " arguments, got " + std::to_string(count);
  if (!s.grid[0] || !s.grid[1] || !s.grid[2] || s.grid[0] > 0x7fffffffu || s.grid[1] > 65535 || s.grid[2] > 65535)
    return "a grid of " + std::to_string(s.grid[0]) + "×" + std::to_string(s.grid[1]) + "×" +
           std::to_string(s.grid[2]) + " blocks is not possible";
  if (!s.block || s.block > 1024 || s.block % 32)
    return "a block of " + std::to_string(s.block) + " threads is not possible";
  for (int i = 0; i < count; ++i) {
    const Argument& a = entry->arguments[std::size_t(i)];
    std::string which = "argument " + std::to_string(i) + " ";
    if (sizes[i] != a.size) return which + "has " + std::to_string(sizes[i]) + " bytes, not " + std::to_string(a.size);
    for (std::size_t j = 0; j < a.pointers; ++j) {
      const void* p = static_cast<const void* const*>(arguments[i])[j];
      if (!p) return which + "is a null pointer";
      if (reinterpret_cast<std::uintptr_t>(p) % 2) return which + "is misaligned";
      std::string reason = check_pointer(p, s.device);
      if (!reason.empty()) return which + reason;
    }
  }
  return launch_kernel(*entry, s, arguments);
}

#define ACDC_EXPORT extern "C" __attribute__((visibility("default")))

// Returns 0, or 1 with the reason in `error`.
ACDC_EXPORT int acdc_launch(const char* name, const unsigned* grid, unsigned block, unsigned shared, int device,
                            void* stream, void** arguments, const std::size_t* sizes, int count, char* error,
                            std::size_t room) {
  std::string problem;
  try {
    problem =
        checked_launch(name, {{grid[0], grid[1], grid[2]}, block, shared, device, stream}, arguments, sizes, count);
  } catch (const std::exception& e) {
    problem = e.what();
  }
  if (problem.empty()) return 0;
  std::snprintf(error, room, "%s: %s", name, problem.c_str());
  return 1;
}

ACDC_EXPORT int acdc_kernel_count() { return int(entries().size()); }
ACDC_EXPORT const char* acdc_kernel_name(int i) { return entries()[std::size_t(i)].name; }
