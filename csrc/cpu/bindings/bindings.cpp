// The Python module acdc_fast._native. All arguments are checked here, at the door; kernels trust them.
#include "bindings.h"

#include "kernels.h"
#include "thread_pool.h"

namespace acdc {

Floats vec_exp(const Floats& x, const std::string& isa) {
  Floats y(x.size());
  const Kernels& k = kernels(isa);
  const float* in = x.data();
  float* out = y.mutable_data();
  py::gil_scoped_release release;
  k.vec_exp(in, out, x.size());
  return y;
}

}  // namespace acdc

PYBIND11_MODULE(_native, m) {
  using namespace acdc;
  m.doc() = "Native CPU kernels of acdc_fast.";
  m.attr("bindings") = ACDC_BINDINGS_DIGEST;  // of the sources: acdc_fast/native_library.py
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const BackendUnavailable& e) {
      py::set_error(py::module_::import("acdc_fast.errors").attr("BackendUnavailable"), e.what());
    } catch (const InputError& e) {
      py::set_error(py::module_::import("acdc_fast.errors").attr("InputError"), e.what());
    }
  });
  m.def(
      "isa", [](const std::string& name) { return std::string(kernels(name).isa); }, py::arg("name") = "",
      "Instruction set that is used: ACDC_ISA if set, else the best of this CPU.");
  m.def("lanes", [](const std::string& name) { return kernels(name).lanes; }, py::arg("name") = "");
  m.def("available_isas", &available_isas);
  m.def("available_threads", &available_threads, "CPUs that this process may run on.");
  m.def("vec_exp", &vec_exp, py::arg("x"), py::arg("isa") = "");
  m.def(
      "fma_rounds",
      [](int64_t rounds, const std::string& isa) {
        const Kernels& k = kernels(isa);
        py::gil_scoped_release release;
        volatile float sink;
        float result;
        k.fma_rounds(rounds, &result);
        sink = result;
        (void)sink;
        return 2.0 * 12 * k.lanes * static_cast<double>(rounds);
      },
      py::arg("rounds"), py::arg("isa") = "", "Runs multiply-adds on registers; gives their number times two (FLOP).");
  bind_bf16(m);
  bind_detector(m);
  bind_engine(m);
  bind_rasterize(m);
  bind_maps(m);
  bind_fusion(m);
  m.attr("skipped") = ACDC_SKIPPED;
}
