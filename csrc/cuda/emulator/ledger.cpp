// Counts the bytes of global memory that kernels load and store, and remembers the block that stored each byte. It is a
// race if two blocks store to one address, or if one stores to it and another loads it.
#include <algorithm>
#include <memory>
#include <unordered_map>

#include "machine.h"

namespace emulator {
Counts counts;

namespace {
struct Page {
  std::int64_t owner[4096];  // block that stored each byte, −1 for none
};
std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> ledger;
std::uintptr_t last_key = ~std::uintptr_t(0);
Page* last_page;

Page* page(std::uintptr_t key, bool make) {
  if (key == last_key) return last_page;
  auto found = ledger.find(key);
  if (found == ledger.end()) {
    if (!make) return nullptr;
    found = ledger.emplace(key, std::make_unique<Page>()).first;
    std::fill(found->second->owner, found->second->owner + 4096, -1);
  }
  last_key = key;
  return last_page = found->second.get();
}
void touch(const void* p, std::size_t bytes, bool store) {
  auto address = reinterpret_cast<std::uintptr_t>(p);
  std::int64_t block =
      place.block.x + std::int64_t(place.grid.x) * (place.block.y + std::int64_t(place.grid.y) * place.block.z);
  for (std::size_t i = 0; i < bytes; ++i) {
    Page* owners = page((address + i) >> 12, store);
    if (!owners) return;
    std::int64_t& owner = owners->owner[(address + i) & 4095];
    if (owner != -1 && owner != block)
      fail("blocks " + std::to_string(owner) + " and " + std::to_string(block) +
           (store ? " store to one address" : " store and load one address"));
    if (store) owner = block;
  }
}
}  // namespace

void loaded(const void* p, std::size_t bytes) {
  counts.loaded += std::int64_t(bytes);
  touch(p, bytes, false);
}
void stored(const void* p, std::size_t bytes) {
  counts.stored += std::int64_t(bytes);
  touch(p, bytes, true);
}

void ledger_reset() {
  ledger.clear();
  last_key = ~std::uintptr_t(0);
}
}  // namespace emulator
