// Stands in for the compiler's own header: the operations of AVX-512 that vectors.h takes, on any x86-64 CPU.

#pragma once

#include <cmath>

typedef float __m512 __attribute__((vector_size(64), may_alias));

static inline __m512 _mm512_set1_ps(float x) { return x - __m512{}; }
static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    for (int lane = 0; lane < 16; lane++) c[lane] = std::fma(a[lane], b[lane], c[lane]);
    return c;
}
static inline __m512 _mm512_sqrt_ps(__m512 x) {
    for (int lane = 0; lane < 16; lane++) x[lane] = std::sqrt(x[lane]);
    return x;
}
// Of a NaN, and of zeros of either sign, the second.
static inline __m512 _mm512_max_ps(__m512 a, __m512 b) { return a > b ? a : b; }
static inline __m512 _mm512_min_ps(__m512 a, __m512 b) { return a < b ? a : b; }
