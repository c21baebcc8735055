// Vectors of one float: stands in for vectors.h where every thread computes one number, as those of a GPU do.
//
// The operators are single IEEE operations here too: nvrtc.py compiles without contraction and without approximations.

#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no standard headers
typedef signed short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
namespace std {
using ::memset;
}
#define NAN __int_as_float(0x7fc00000)
#define INLINE static __forceinline__
#define ONCE static __noinline__
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define INLINE static inline
#define ONCE static
#endif

constexpr int kLanes = 1;

typedef float Vec;
typedef int32_t IntVec;

template <int Rows, int Vectors>
using Sums = Vec[Rows][Vectors];

INLINE Vec load_loose(const float* p) { return *p; }
INLINE Vec broadcast(float x) { return x; }

#ifdef __CUDACC_RTC__
INLINE Vec fused(Vec a, Vec b, Vec c) { return __fmaf_rn(a, b, c); }
INLINE Vec square_root(Vec x) { return __fsqrt_rn(x); }
INLINE IntVec bits_of(Vec x) { return __float_as_int(x); }
INLINE Vec from_bits(IntVec x) { return __int_as_float(x); }
#else
INLINE Vec fused(Vec a, Vec b, Vec c) { return std::fma(a, b, c); }
INLINE Vec square_root(Vec x) { return std::sqrt(x); }
INLINE IntVec bits_of(Vec x) {
    IntVec bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
INLINE Vec from_bits(IntVec x) {
    Vec value;
    std::memcpy(&value, &x, sizeof value);
    return value;
}
#endif
INLINE Vec to_float(IntVec x) { return static_cast<float>(x); }
INLINE Vec at_least(Vec x, float low) { return x < low ? low : x; }
INLINE Vec at_most(Vec x, float high) { return x > high ? high : x; }
