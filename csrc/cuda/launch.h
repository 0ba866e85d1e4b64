// Between the door (bindings.cpp) and the code that runs a kernel: launch.cu on a GPU, emulator/launch.cpp on the CPU.
#pragma once
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

struct MapOutputs;
struct MapGradients;

struct Argument {
  std::size_t size;
  std::size_t pointers;  // the number of pointers it consists of; 0: a number or a shape
};
struct Entry {
  const char* name;  // NVRTC's name: spatial_softmax_forward<half_t>
  const void* kernel;
  std::vector<Argument> arguments;
};
struct LaunchShape {
  unsigned grid[3], block, shared;
  int device;
  void* stream;
};

const std::vector<Entry>& entries();
// Returns why the kernel cannot run, or an empty string after its launch.
std::string launch_kernel(const Entry& entry, const LaunchShape& shape, void** arguments);
std::string check_pointer(const void* p, int device);
