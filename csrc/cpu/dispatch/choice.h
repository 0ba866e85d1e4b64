// An instruction set by name, with its table of kernels, and whether it can run here.
#pragma once

#include <string>
#include <vector>

namespace acdc {

template <class Table>
struct Choice {
  const char* name;
  const Table* table;  // null: not in this build
  bool served;         // whether this CPU and operating system support it

  bool fits() const { return table && served; }
};

// Names of those that can run, in their order.
template <class Table>
std::vector<std::string> names_of(const std::vector<Choice<Table>>& choices) {
  std::vector<std::string> out;
  for (const Choice<Table>& c : choices) {
    if (c.fits()) out.push_back(c.name);
  }
  return out;
}

}  // namespace acdc
