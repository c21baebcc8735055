// Vectors of floats, as wide as the target has them: 64 bytes with AVX-512, 32 with AVX, 16 with NEON or SSE.
//
// Every operation is one IEEE operation in each lane, so that no result depends on the width (docs/arithmetic.md):
// code that includes this must be compiled without contraction, and says where it wants a fused multiply-add.

#pragma once

#ifdef RNNZOO_ONE_LANE
#include "one_lane.h"
#else

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
// Of what is called from several places and takes long to compile.
#define ONCE static __attribute__((noinline))

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// Registers a matrix product may fill with partial sums: of the 32 of AVX-512 and NEON, or of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAccumulators = 24;
#else
constexpr int kAccumulators = 12;
#endif

constexpr int kLanes = kVectorBytes / sizeof(float);

typedef float Vec __attribute__((vector_size(kVectorBytes), may_alias));
typedef int32_t IntVec __attribute__((vector_size(kVectorBytes), may_alias));

// Partial sums of a matrix product, to be kept in registers.
template <int Rows, int Vectors>
using Sums = Vec[Rows][Vectors];

// `p` must be a multiple of kVectorBytes.
INLINE Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
INLINE Vec broadcast(float x) { return x - Vec{}; }

// The bits of floats as integers, and back; integers as the floats of the same value.
INLINE IntVec bits_of(Vec x) { return (IntVec)x; }
INLINE Vec from_bits(IntVec x) { return (Vec)x; }
INLINE Vec to_float(IntVec x) { return __builtin_convertvector(x, Vec); }

// The same for floats anywhere in memory.
typedef float LooseVec __attribute__((vector_size(kVectorBytes), aligned(sizeof(float)), may_alias));
INLINE Vec load_loose(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
INLINE void store_loose(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }

// The first `count` of a vector's floats.
INLINE void store_some(float* p, Vec v, int count) {
    if (count == kLanes)
        store_loose(p, v);
    else
        std::memcpy(p, &v, count * sizeof(float));
}

// fused(a, b, c): a b + c, rounded once. at_least, at_most: NaN stays NaN.
#if defined(__AVX512F__)
INLINE Vec fused(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vec square_root(Vec x) { return (Vec)_mm512_sqrt_ps((__m512)x); }
INLINE Vec at_least(Vec x, float low) { return (Vec)_mm512_max_ps(_mm512_set1_ps(low), (__m512)x); }
INLINE Vec at_most(Vec x, float high) { return (Vec)_mm512_min_ps(_mm512_set1_ps(high), (__m512)x); }
#elif defined(__AVX__) && defined(__FMA__)
INLINE Vec fused(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vec square_root(Vec x) { return (Vec)_mm256_sqrt_ps((__m256)x); }
INLINE Vec at_least(Vec x, float low) { return (Vec)_mm256_max_ps(_mm256_set1_ps(low), (__m256)x); }
INLINE Vec at_most(Vec x, float high) { return (Vec)_mm256_min_ps(_mm256_set1_ps(high), (__m256)x); }
#elif defined(__aarch64__)
INLINE Vec fused(Vec a, Vec b, Vec c) { return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vec square_root(Vec x) { return (Vec)vsqrtq_f32((float32x4_t)x); }
INLINE Vec at_least(Vec x, float low) { return x < broadcast(low) ? broadcast(low) : x; }
INLINE Vec at_most(Vec x, float high) { return x > broadcast(high) ? broadcast(high) : x; }
#else
// Without an instruction for it, the C library's fma is exact too, and some hundred times slower.
INLINE Vec fused(Vec a, Vec b, Vec c) {
    for (int lane = 0; lane < kLanes; lane++) c[lane] = std::fma(a[lane], b[lane], c[lane]);
    return c;
}
INLINE Vec square_root(Vec x) {
    for (int lane = 0; lane < kLanes; lane++) x[lane] = std::sqrt(x[lane]);
    return x;
}
INLINE Vec at_least(Vec x, float low) { return x < broadcast(low) ? broadcast(low) : x; }
INLINE Vec at_most(Vec x, float high) { return x > broadcast(high) ? broadcast(high) : x; }
#endif
INLINE Vec fused(Vec a, float b, float c) { return fused(a, broadcast(b), broadcast(c)); }

#endif  // RNNZOO_ONE_LANE
