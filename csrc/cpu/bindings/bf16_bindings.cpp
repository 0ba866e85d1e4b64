// Parts of the bfloat16 engine alone, for its tests.
#include "bindings.h"
#include "kernels.h"

namespace acdc {
namespace {

using Halves = py::array_t<uint16_t, py::array::c_style>;

Floats bf16_dot(const Floats& sum, const Halves& a, const Halves& b, const std::string& isa) {
  require(sum.size() % 16 == 0 && a.size() == 2 * sum.size() && b.size() == a.size(),
          "bf16_dot takes 16·n sums and two bfloat16 numbers of a and of b for each");
  Floats out(sum.size());
  bf16_parts(isa).dot(sum.data(), a.data(), b.data(), out.mutable_data(), sum.size());
  return out;
}

Halves bf16_round(const Floats& x, const std::string& isa) {
  require(x.size() % 16 == 0, "bf16_round takes 16·n numbers");
  Halves out(x.size());
  bf16_parts(isa).round(x.data(), out.mutable_data(), x.size());
  return out;
}

Floats bf16_tile(const Halves& a, const Halves& b, const std::string& isa) {
  require(a.ndim() == 2 && b.ndim() == 3 && a.shape(0) >= 1 && a.shape(0) <= 16 &&
              (a.shape(1) == 16 || a.shape(1) == 32) && 2 * b.shape(0) == a.shape(1) && b.shape(1) == 16 &&
              b.shape(2) == 2,
          "bf16_tile takes a (1 to 16, 16 or 32) and b (half as many, 16, 2)");
  const Bf16Kernels& parts = bf16_parts(isa);
  if (!parts.tile) throw BackendUnavailable(std::string(parts.isa) + " has no tiles");
  Floats out({a.shape(0), static_cast<py::ssize_t>(16)});
  parts.tile(static_cast<int>(a.shape(0)), static_cast<int>(a.shape(1)), a.data(), b.data(), out.mutable_data());
  return out;
}

}  // namespace

void bind_bf16(py::module_& m) {
  m.def("bf16_isas", &available_bf16_isas, "Instruction sets that the engine in bfloat16 can be made for here.");
  m.def("bf16_dot", &bf16_dot, py::arg("sum"), py::arg("a"), py::arg("b"), py::arg("isa") = "");
  m.def("bf16_tile", &bf16_tile, py::arg("a"), py::arg("b"), py::arg("isa") = "");
  m.def("bf16_round", &bf16_round, py::arg("x"), py::arg("isa") = "");
}

}  // namespace acdc
