#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif

namespace acdc {
namespace {

constexpr int kSpins = 4000;  // tens of microseconds: longer than the gap between two layers, shorter than a time slice

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Lives on the stack of the thread that waits for it.
struct Job {
  TaskRef task;
  int64_t tasks;
  int threads;
  std::atomic<int64_t> next{0};
  int slots = 1;                // slots taken so far, with the caller's; guarded by the pool's mutex
  std::atomic<int> helpers{0};  // workers that run it now

  void run(int slot) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) task(i, slot);
  }
};

class Pool {
 public:
  void run(Job& job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_) < job.threads - 1) {
        std::thread([this] { work(); }).detach();
        ++workers_;
      }
      jobs_.push_back(&job);
      posted_.fetch_add(1, std::memory_order_release);
      if (sleepers_) wake_.notify_all();
    }
    job.run(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    }
    for (int i = 0; job.helpers.load(std::memory_order_acquire); ++i) {
      if (i < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  [[noreturn]] void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      if (Job* job = open_job()) {
        const int slot = job->slots++;
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job->run(slot);
        job->helpers.fetch_sub(1, std::memory_order_release);  // the job may be destroyed after this
        lock.lock();
        continue;
      }
      const uint64_t seen = posted_.load(std::memory_order_relaxed);
      lock.unlock();
      for (int i = 0; i < kSpins && posted_.load(std::memory_order_acquire) == seen; ++i) pause();
      lock.lock();
      if (posted_.load(std::memory_order_relaxed) == seen) {
        ++sleepers_;
        wake_.wait(lock, [&] { return posted_.load(std::memory_order_relaxed) != seen; });
        --sleepers_;
      }
    }
  }

  Job* open_job() {
    for (Job* job : jobs_) {
      if (job->slots < job->threads && job->next.load(std::memory_order_relaxed) < job->tasks) return job;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job*> jobs_;
  std::atomic<uint64_t> posted_{0};
  size_t workers_ = 0;
  int sleepers_ = 0;
};

std::atomic<Pool*> current{nullptr};  // never destroyed, because workers may outlive static destructors

Pool& pool() {
  Pool* p = current.load(std::memory_order_acquire);
  if (p) return *p;
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current.store(nullptr); });
  (void)registered;
  Pool* fresh = new Pool;
  if (current.compare_exchange_strong(p, fresh)) return *fresh;
  delete fresh;  // another thread was faster
  return *p;
}

}  // namespace

void parallel_for(int64_t tasks, int threads, TaskRef task) {
  threads = static_cast<int>(std::min<int64_t>(threads, tasks));
  if (threads <= 1) {
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  Job job{task, tasks, threads};
  pool().run(job);
}

int available_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace acdc
