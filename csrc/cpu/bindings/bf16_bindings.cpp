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

}  // namespace

void bind_bf16(py::module_& m) {
  m.def("bf16_isas", &available_bf16_isas, "Instruction sets that the engine in bfloat16 can be made for here.");
  m.def("bf16_dot", &bf16_dot, py::arg("sum"), py::arg("a"), py::arg("b"), py::arg("isa") = "");
  m.def("bf16_round", &bf16_round, py::arg("x"), py::arg("isa") = "");
}

}  // namespace acdc
