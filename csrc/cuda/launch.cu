// Kernels on a GPU. Compiled once for each ACDC_TYPE, so that the three types compile at the same time. The one for
// float also has the common parts.
#include <cuda_runtime.h>

#include "launch.h"
#include "table.h"

template <class A>
Argument argument() {
  constexpr bool bundle = std::is_same_v<A, MapOutputs> || std::is_same_v<A, MapGradients>;
  return {sizeof(A), bundle ? sizeof(A) / sizeof(void*) : std::is_pointer_v<A> ? 1u : 0u};
}
template <class... A>
Entry entry(const char* name, void (*kernel)(A...)) {
  return {name, reinterpret_cast<const void*>(kernel), {argument<A>()...}};
}

#define ACDC_NAME(kernel, type) #kernel "<" #type ">"
#define ACDC_EXPAND(kernel, type) ACDC_NAME(kernel, type)
#define ACDC_TYPED(kernel) entry(ACDC_EXPAND(kernel, ACDC_TYPE), kernel<ACDC_TYPE>),
#define ACDC_PLAIN(kernel) entry(#kernel "<float>", kernel<float>),

std::vector<Entry> entries_float(), entries_half(), entries_bfloat16();
std::vector<Entry> ACDC_LIST() {
  return {ACDC_TYPED_KERNELS(ACDC_TYPED)
#ifdef ACDC_COMMON
              ACDC_PLAIN_KERNELS(ACDC_PLAIN)
#endif
  };
}

#ifdef ACDC_COMMON
const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = [] {
    std::vector<Entry> list = entries_float();
    for (auto more : {entries_half(), entries_bfloat16()}) list.insert(list.end(), more.begin(), more.end());
    return list;
  }();
  return all;
}

static std::string explain(cudaError_t code) {
  if (code == cudaSuccess) return "";
  std::string text = cudaGetErrorString(code);
  if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorUnsupportedPtxVersion ||
      code == cudaErrorInvalidDeviceFunction)
    text += "; this build has no code for the GPU: build again with ACDC_CUDA_ARCHS set to its compute capability";
  if (code == cudaErrorInsufficientDriver || code == cudaErrorNoDevice)
    text += "; install or update the NVIDIA driver, or choose backend='native'";
  return text;
}

std::string check_pointer(const void* p, int device) {
  cudaPointerAttributes at;
  if (cudaError_t code = cudaPointerGetAttributes(&at, p)) return explain(code);
  if (at.type == cudaMemoryTypeManaged) return "";
  if (at.type != cudaMemoryTypeDevice) return "is not in GPU memory";
  return at.device == device ? "" : "is on GPU " + std::to_string(at.device) + ", not " + std::to_string(device);
}

std::string launch_kernel(const Entry& entry, const LaunchShape& s, void** arguments) {
  int before = 0;
  cudaError_t code = cudaGetDevice(&before);
  if (!code && before != s.device) code = cudaSetDevice(s.device);
  if (code) return explain(code);
  if (s.shared > 48 << 10)
    code = cudaFuncSetAttribute(entry.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(s.shared));
  if (!code)
    code = cudaLaunchKernel(entry.kernel, dim3(s.grid[0], s.grid[1], s.grid[2]), dim3(s.block), arguments, s.shared,
                            static_cast<cudaStream_t>(s.stream));
  if (code) cudaGetLastError();  // clears the error, which would else reach the next caller
  if (before != s.device) cudaSetDevice(before);
  return explain(code);
}
#endif
