"""The pool's caller waits for helpers that are slow, in a program of its own where tasks may sleep."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.patience import PATIENCE

PROGRAM = r"""
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>
#include "thread_pool.h"

// Helpers sleep over every task that they take; the caller is through with the others long before.
int missing_results(int tasks, int threads) {
  std::vector<int> done(tasks, 0);
  std::atomic<int> by_helpers{0}, inside{0};
  auto body = [&](int64_t i, int slot) {
    ++inside;
    if (slot) std::this_thread::sleep_for(std::chrono::milliseconds(60)), ++by_helpers;
    else std::this_thread::sleep_for(std::chrono::milliseconds(5));
    done[i] += 1;
    --inside;
  };
  acdc::parallel_for(tasks, threads, body);
  int wrong = inside.load();
  for (int d : done) wrong += d != 1;
  if (!by_helpers) return 0 - 1000;  // no helper took part: nothing was tested
  return wrong;
}

int main() {
  int wrong = 0, idle = 0;
  for (int round = 0; round < 5; ++round) {
    const int w = missing_results(12, 3);
    w < 0 ? ++idle : wrong += w;
  }
  std::vector<std::thread> callers;  // several callers share the helpers
  std::atomic<int> together{0};
  const auto call = [&] { const int w = missing_results(6, 4); if (w > 0) together += w; };
  for (int i = 0; i < 4; ++i) callers.emplace_back(call);
  for (auto& c : callers) c.join();
  std::printf("%d wrong, %d rounds without helpers\n", wrong + together.load(), idle);
  return wrong + together.load() > 0 || idle == 5;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="the program is built with g++, which is not installed")
def test_the_caller_waits_for_slow_helpers(tmp_path: Path) -> None:
    pool, source = ROOT / "csrc" / "cpu" / "dispatch", tmp_path / "slow.cpp"
    source.write_text(PROGRAM)
    command = ["g++", "-std=c++17", "-O1", f"-I{pool}", str(source), str(pool / "thread_pool.cpp"), "-pthread"]
    subprocess.run([*command, "-o", str(tmp_path / "slow")], check=True)
    done = subprocess.run([str(tmp_path / "slow")], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
