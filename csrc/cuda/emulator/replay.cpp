// Runs launches that were recorded in a file, for the sanitizers. Each buffer has exactly its recorded size. A second
// argument names a kernel: the launches of others are then skipped.
//
// File: launches of {name\0, u32 grid[3], block, shared, arguments}. An argument is {u32 pointers, u32 size}. With
// pointers = 0 follow `size` bytes, else for each pointer {u64 size} and its bytes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern "C" int acdc_launch(const char*, const unsigned*, unsigned, unsigned, int, void*, void**, const std::size_t*,
                           int, char*, std::size_t);

static std::FILE* file;
template <class T>
static T read() {
  T value;
  if (std::fread(&value, sizeof(T), 1, file) != 1) std::exit(2);
  return value;
}
static void* read_block(std::size_t size) {  // from malloc, so that both ends have guards
  void* p = std::malloc(size);
  if (size && std::fread(p, size, 1, file) != 1) std::exit(2);
  return p;
}

int main(int count, char** paths) {
  const std::string wanted = count > 2 ? paths[2] : "";
  std::size_t ran = 0;
  if (count < 2 || !(file = std::fopen(paths[1], "rb"))) return 2;
  for (int c; (c = std::fgetc(file)) != EOF;) {
    std::string name;
    for (; c; c = std::fgetc(file)) name.push_back(char(c));
    unsigned grid[3] = {read<unsigned>(), read<unsigned>(), read<unsigned>()}, block = read<unsigned>(),
             shared = read<unsigned>();
    unsigned arguments = read<unsigned>();
    std::vector<void*> values, blocks;
    std::vector<std::size_t> sizes;
    for (unsigned i = 0; i < arguments; ++i) {
      unsigned pointers = read<unsigned>(), size = read<unsigned>();
      sizes.push_back(size);
      if (!pointers) {
        values.push_back(read_block(size));
        continue;
      }
      void** list = static_cast<void**>(std::malloc(size));
      for (unsigned j = 0; j < pointers; ++j) blocks.push_back(list[j] = read_block(read<std::uint64_t>()));
      values.push_back(list);
    }
    char error[1024] = "";
    const bool runs = wanted.empty() || name.compare(0, name.find('<'), wanted) == 0;
    ran += runs;
    int failed = runs && acdc_launch(name.c_str(), grid, block, shared, 0, nullptr, values.data(), sizes.data(),
                                     int(arguments), error, sizeof error);
    if (failed) {
      std::fprintf(stderr, "%s\n", error);
      return 1;
    }
    for (void* p : values) std::free(p);
    for (void* p : blocks) std::free(p);
  }
  std::puts(ran ? "all launches ran" : "there was no launch to run");
  return !ran;
}
