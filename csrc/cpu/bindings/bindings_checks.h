// Checks of every array for a kernel: dtype, C order, shape, alignment. Kernels trust their arguments.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <new>

#include "bindings.h"

namespace acdc {

using Shape = std::initializer_list<py::ssize_t>;

inline std::string text(const py::ssize_t* shape, size_t n) {
  std::string out = "(";
  for (size_t i = 0; i < n; ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + ")";
}

template <class T>
const T* input(const py::array& x, const char* name, Shape shape) {
  require(py::isinstance<py::array_t<T>>(x), std::string(name) + " has another dtype than the kernel reads");
  const bool fits =
      x.ndim() == static_cast<py::ssize_t>(shape.size()) && std::equal(shape.begin(), shape.end(), x.shape());
  require(fits, std::string(name) + " must have shape " + text(shape.begin(), shape.size()) + ", not " +
                    text(x.shape(), static_cast<size_t>(x.ndim())));
  require(x.flags() & py::array::c_style, std::string(name) + " must be C-contiguous");
  require(reinterpret_cast<uintptr_t>(x.data()) % alignof(T) == 0, std::string(name) + " is not aligned");
  return static_cast<const T*>(x.data());
}

template <class T = float>
T* output(py::array& x, const char* name, Shape shape) {
  input<T>(x, name, shape);
  require(x.writeable(), std::string(name) + " is read-only");
  return static_cast<T*>(x.mutable_data());
}

inline py::ssize_t extent(const py::array& x, const char* name, int dimensions, int i) {
  require(x.ndim() == dimensions, std::string(name) + " must have " + std::to_string(dimensions) + " dimensions, not " +
                                      std::to_string(x.ndim()));
  require(x.shape(i) > 0, std::string(name) + " is empty");
  return x.shape(i);
}

// Uninitialised floats, aligned to a cache line.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : p_(static_cast<float*>(::operator new(static_cast<size_t>(floats) * sizeof(float), std::align_val_t(64)))) {}
  ~Scratch() { ::operator delete(p_, std::align_val_t(64)); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* get() const { return p_; }

 private:
  float* p_;
};

inline int checked_threads(int threads) {
  require(threads >= 1, "threads must be at least 1, not " + std::to_string(threads));
  return threads;
}

}  // namespace acdc
