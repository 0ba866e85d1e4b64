// The build chooses: it compiles every kernel file once for each instruction set, with ACDC_ISA_<NAME> defined. The
// code goes into namespace acdc::ACDC_ISA_NS, so that the linker cannot take a symbol of another instruction set.
#pragma once

#if defined(ACDC_ISA_AVX512AMX_EMULATED)  // with ACDC_ISA_AVX512AMX
#define ACDC_ISA_NS avx512amx_emulated
#elif defined(ACDC_ISA_AVX512AMX)  // with ACDC_ISA_AVX512BF16
#define ACDC_ISA_NS avx512amx
#elif defined(ACDC_ISA_AVX512BF16_EMULATED)  // with ACDC_ISA_AVX512BF16
#define ACDC_ISA_NS avx512bf16_emulated
#elif defined(ACDC_ISA_AVX512BF16)  // with ACDC_ISA_AVX512
#define ACDC_ISA_NS avx512bf16
#elif defined(ACDC_ISA_AVX512)
#define ACDC_ISA_NS avx512
#elif defined(ACDC_ISA_AVX2)
#define ACDC_ISA_NS avx2
#elif defined(ACDC_ISA_NEON)
#define ACDC_ISA_NS neon
#elif defined(ACDC_ISA_SCALAR)
#define ACDC_ISA_NS scalar
#else
#error "kernel files are compiled by CMake, once for each instruction set"
#endif

#define ACDC_INLINE inline __attribute__((always_inline))
