// Between the door (bindings.cpp) and whatever runs a kernel: launch.cu on a GPU, emulator/launch.cpp on the CPU.
#pragma once
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

struct MapOutputs;
struct MapGradients;

struct Argument {
  std::size_t size;
  std::size_t pointers;  // it is so many pointers and nothing else; 0: a number or a shape
};
struct Entry {
  const char* name;  // as NVRTC calls it: spatial_softmax_forward<half_t>
  const void* kernel;
  std::vector<Argument> arguments;
};
struct LaunchShape {
  unsigned grid[3], block, shared;
  int device;
  void* stream;
};

const std::vector<Entry>& entries();
// What keeps the kernel from running, or an empty string once it is on its way.
std::string launch_kernel(const Entry& entry, const LaunchShape& shape, void** arguments);
std::string check_pointer(const void* p, int device);
