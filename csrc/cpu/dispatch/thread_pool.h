// One pool of worker threads for the process. It is made at first use, and made again in a forked child.
#pragma once

#include <cstdint>
#include <type_traits>

namespace acdc {

// A reference to a callable (task, slot), like std::function but without owning or allocating. Forced inline, so that
// no code of one instruction set is shared with another.
class TaskRef {
 public:
  template <class F>
  __attribute__((always_inline)) TaskRef(F& f)  // NOLINT: converts on purpose
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, int64_t task, int slot) { (*static_cast<F*>(object))(task, slot); }) {}
  __attribute__((always_inline)) void operator()(int64_t task, int slot) const { call_(object_, task, slot); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int);
};

// Calls task(i, slot) once for every i in [0, tasks), in no fixed order, on at most `threads` threads. The calling
// thread is one of them. 0 ≤ slot < threads; calls that run at the same time have different slots, so a slot can index
// scratch memory. Returns when all calls are done. Several threads may call it at once. The task must not throw.
void parallel_for(int64_t tasks, int threads, TaskRef task);

// CPUs that this process may run on.
int available_threads();

}  // namespace acdc
