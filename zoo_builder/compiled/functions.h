// The functions of recurrent cells, and of their losses, on vectors: see docs/arithmetic.md.
//
// They saturate instead of overflowing, and return NaN for NaN. Largest relative errors: tanh 3e-7, sigmoid 3e-7 for
// |x| < 10 and 7e-7 beyond, where log2(e) in one float is what limits it; log 2e-7.

#pragma once

#include "vectors.h"

// e^x = (1 + fraction) * power, with x log2(e) = n + f, |f| <= 1/2, fraction = 2^f - 1 and power = 2^n.
// Callers keep |x| <= 87, so that 2^n is a normal number.
struct ExpParts {
    Vec fraction, power;
};

INLINE ExpParts exp_parts(Vec x) {
    // Adding 1.5 * 2^23 rounds to an integer; the extra 127 is the exponent's bias, so that the sum's lowest
    // bits, moved to where a float keeps its exponent, are 2^n.
    constexpr float kLog2E = 1.44269504f, kRound = 12582912.0f + 127.0f;
    const Vec rounded = fused(x, kLog2E, kRound);
    const Vec n = rounded - kRound;
    const Vec f = fused(x, broadcast(kLog2E), -n);
    // (2^f - 1) / f, fitted for the smallest largest relative error, which is 2e-8.
    Vec p = fused(f, 0.000154035122f, 0.00133908493f);
    p = fused(p, f, broadcast(0.00961823761f));
    p = fused(p, f, broadcast(0.0555035733f));
    p = fused(p, f, broadcast(0.240226492f));
    p = fused(p, f, broadcast(0.693147182f));
    // A NaN's power is garbage, but its fraction is NaN.
    return {p * f, from_bits(bits_of(rounded) << 23)};
}

// e^x, for x <= 87; below -87 it stays at e^-87.
INLINE Vec exp_of(Vec x) {
    const ExpParts e = exp_parts(at_least(x, -87.0f));
    return fused(e.fraction, e.power, e.power);
}

// log(x), for 1 <= x < 2^24; NaN for NaN.
INLINE Vec log_of(Vec x) {
    // x = 2^n y, 2/3 <= y < 4/3: so much is added to the bits that the exponent turns over where y does.
    constexpr int32_t kOne = 0x3f800000, kTwoThirds = 0x3f2aaaab;
    const IntVec moved = bits_of(x) + (kOne - kTwoThirds);
    const Vec n = to_float((moved >> 23) - 127);
    const Vec y = from_bits((moved & 0x007fffff) + kTwoThirds);
    // log(y) = 2 artanh(s)
    const Vec s = (y - 1.0f) / (y + 1.0f), z = s * s;
    Vec q = fused(z, 0.2222222222f, 0.2857142857f);
    q = fused(q, z, broadcast(0.4f));
    q = fused(q, z, broadcast(0.6666666667f));
    const Vec log = fused(n, broadcast(0.693147182f), fused(s * z, q, s + s));
    return x == x ? log : x;
}

// Beyond +-kSaturated a sigmoid is 0 or 1 to within 3e-19. Two factors 1 + e^43 still multiply to a finite float.
constexpr float kSaturated = 43.0f;

INLINE Vec saturated(Vec x) { return at_least(at_most(x, kSaturated), -kSaturated); }

// 1 + e^-x, the denominator of sigmoid(x).
INLINE Vec sigmoid_denominator(Vec x) {
    const ExpParts e = exp_parts(-saturated(x));
    return fused(e.fraction, e.power, e.power + 1.0f);
}

// m = e^2x - 1, so that tanh(x) = m / (m + 2): accurate for x near 0 too.
INLINE Vec tanh_numerator(Vec x) {
    const ExpParts e = exp_parts(saturated(x + x));
    return fused(e.fraction, e.power, e.power - 1.0f);
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
