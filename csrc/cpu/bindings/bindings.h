// Shared by the files that bind kernels to Python: array types and checks.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace acdc {

// C-contiguous float32. pybind11 converts any other array, so take this type only where a copy does no harm.
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// Becomes acdc_fast.errors.InputError (a ValueError) in Python.
struct InputError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline void require(bool condition, const std::string& message) {
  if (!condition) throw InputError(message);
}

void bind_bf16(py::module_& m);       // bf16_bindings.cpp
void bind_detector(py::module_& m);   // bindings_detector.cpp
void bind_engine(py::module_& m);     // bindings_engine.cpp
void bind_rasterize(py::module_& m);  // rasterize.cpp
void bind_maps(py::module_& m);       // bindings_maps.cpp
void bind_fusion(py::module_& m);     // bindings_fusion.cpp

}  // namespace acdc
