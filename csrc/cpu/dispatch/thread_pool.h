// One pool of worker threads for the process, made at first use and again in a forked child.
#pragma once

#include <cstdint>
#include <type_traits>

namespace acdc {

// A reference to a callable (task, slot): what std::function would be without owning or allocating. Forced inline, so
// that no instruction set's copy of it is shared.
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

// Calls task(i, slot) once for every i in [0, tasks), on at most `threads` threads, the calling one among them, in no
// fixed order; 0 ≤ slot < threads, and no two calls that run at once share a slot (scratch memory can be indexed by
// it). Returns when all are done. Any number of threads may call it at once. The task must not throw.
void parallel_for(int64_t tasks, int threads, TaskRef task);

// CPUs that this process may run on.
int available_threads();

}  // namespace acdc
