// Switches between stacks. swapcontext would do, but it calls the kernel for the signal mask each time, which takes
// most of the emulator's time. The compiler's own setjmp makes no system call, and no sanitizer mistakes it for a jump
// up a stack.
#pragma once
#include <ucontext.h>

#include <cstddef>

namespace emulator {
struct Context {
  ucontext_t start;
  void* jump[5];  // frame, place in the program, stack
  bool begun = true;
};

// The next switch to `c` calls `function` on this stack; it must never return.
inline void begin_context(Context& c, void* stack, std::size_t bytes, void (*function)()) {
  getcontext(&c.start);
  c.start.uc_stack.ss_sp = stack;
  c.start.uc_stack.ss_size = bytes;
  c.start.uc_link = nullptr;
  makecontext(&c.start, function, 0);
  c.begun = false;
}

// Continues in `to`. Returns when another fiber switches to `from`.
__attribute__((noinline, no_sanitize_address, no_sanitize_thread)) inline void switch_context(Context& from,
                                                                                              Context& to) {
  if (__builtin_setjmp(from.jump)) return;
  if (to.begun) __builtin_longjmp(to.jump, 1);
  to.begun = true;
  setcontext(&to.start);
}
}  // namespace emulator
