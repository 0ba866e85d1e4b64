// Measures the times of a profile: the steps of a run, and the parts of its convolutions.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "engine.h"

namespace acdc {

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Clock {
  explicit Clock(int threads) : parts(threads) {}

  void step(const std::string& name) {
    const double now = seconds_now();
    if (!last_name.empty()) profile.emplace_back(last_name, now - last);
    static const char* const names[3] = {"/input", "/product", "/output"};
    for (int i = 0; i < 3 && !last_name.empty(); ++i) {
      double sum = 0;
      for (auto& slot : parts) sum += slot[i], slot[i] = 0;
      if (sum > 0) profile.emplace_back(last_name + names[i], sum);
    }
    last_name = name;
    last = seconds_now();
  }

  Profile profile;
  std::vector<std::array<double, 3>> parts;  // seconds of a convolution's parts, by thread
  std::string last_name;
  double last = 0;
};

// Adds the time since the last call to a part of the current step. Does nothing if no profile is taken.
class Lap {
 public:
  Lap(Clock* clock, int slot) : clock_(clock), slot_(slot), last_(clock ? seconds_now() : 0) {}
  void end(int part) const {
    if (!clock_) return;
    const double now = seconds_now();
    clock_->parts[slot_][part] += now - last_;
    last_ = now;
  }

 private:
  Clock* clock_;
  int slot_;
  mutable double last_;
};

}  // namespace acdc
