// Vectors of floats in the compiler's own notation, and the functions of recurrent cells on them.
//
// One `Vec` is the widest register of the target: 64 bytes with AVX-512, 32 with AVX, 16 with NEON or SSE.
// The functions saturate instead of overflowing, and return NaN for NaN. Largest relative errors: tanh 3e-7,
// sigmoid 3e-7 for |x| < 10 and 7e-7 beyond, where log2(e) in one float is what limits it.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

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
constexpr int kAccumulators = 8;
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

// NaN stays NaN: both comparisons are false for it.
INLINE Vec at_least(Vec x, float low) { return x < broadcast(low) ? broadcast(low) : x; }
INLINE Vec at_most(Vec x, float high) { return x > broadcast(high) ? broadcast(high) : x; }

// e^x = (1 + fraction) * power, with x log2(e) = n + f, |f| <= 1/2, fraction = 2^f - 1 and power = 2^n.
// Callers keep |x| <= 87, so that 2^n is a normal number.
struct ExpParts {
    Vec fraction, power;
};

INLINE ExpParts exp_parts(Vec x) {
    // Adding 1.5 * 2^23 rounds to an integer; the extra 127 is the exponent's bias, so that the sum's lowest
    // bits, moved to where a float keeps its exponent, are 2^n.
    constexpr float kLog2E = 1.44269504f, kRound = 12582912.0f + 127.0f;
    const Vec rounded = x * kLog2E + kRound;
    const Vec n = rounded - kRound;
    const Vec f = x * kLog2E - n;
    // (2^f - 1) / f, fitted for the smallest largest relative error, which is 2e-8.
    Vec p = f * 0.000154035122f + 0.00133908493f;
    p = p * f + 0.00961823761f;
    p = p * f + 0.0555035733f;
    p = p * f + 0.240226492f;
    p = p * f + 0.693147182f;
    // A NaN's power is garbage, but its fraction is NaN.
    return {p * f, (Vec)((IntVec)rounded << 23)};
}

// e^x, for x <= 87; below -87 it stays at e^-87.
INLINE Vec exp_of(Vec x) {
    const ExpParts e = exp_parts(at_least(x, -87.0f));
    return e.fraction * e.power + e.power;
}

// Beyond +-kSaturated a sigmoid is 0 or 1 to within 3e-19. Two factors 1 + e^43 still multiply to a finite float.
constexpr float kSaturated = 43.0f;

INLINE Vec saturated(Vec x) { return at_least(at_most(x, kSaturated), -kSaturated); }

// 1 + e^-x, the denominator of sigmoid(x).
INLINE Vec sigmoid_denominator(Vec x) {
    const ExpParts e = exp_parts(-saturated(x));
    return e.fraction * e.power + (e.power + 1.0f);
}

// m = e^2x - 1, so that tanh(x) = m / (m + 2): accurate for x near 0 too.
INLINE Vec tanh_numerator(Vec x) {
    const ExpParts e = exp_parts(saturated(x + x));
    return e.fraction * e.power + (e.power - 1.0f);
}

// Two functions at once share one division, which costs as much as ten products: 1/a = b / (a b).
INLINE void sigmoid_pair(Vec& x, Vec& y) {
    const Vec a = sigmoid_denominator(x), b = sigmoid_denominator(y);
    const Vec inverse = 1.0f / (a * b);
    x = b * inverse;
    y = a * inverse;
}

INLINE void tanh_and_sigmoid(Vec& x, Vec& y) {
    const Vec m = tanh_numerator(x), a = m + 2.0f, b = sigmoid_denominator(y);
    const Vec inverse = 1.0f / (a * b);
    x = m * (b * inverse);
    y = a * inverse;
}

INLINE Vec tanh_of(Vec x) {
    const Vec m = tanh_numerator(x);
    return m / (m + 2.0f);
}

INLINE Vec square_root(Vec x) {
    Vec root = x;
    for (int lane = 0; lane < kLanes; lane++) root[lane] = std::sqrt(x[lane]);
    return root;
}

INLINE float sum_of(Vec x) {
    float sum = 0;
    for (int lane = 0; lane < kLanes; lane++) sum += x[lane];
    return sum;
}
