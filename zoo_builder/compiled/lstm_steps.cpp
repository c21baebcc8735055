// What an LSTM step does beside its matrix products, forward and backward: one pass over memory in place of some
// ten. The C functions behind `lstm_steps.py`, which says what the arrays are.

#include "simd.h"

namespace {

// Floats anywhere in memory: rows of units need not begin at whole vectors.
typedef float LooseVec __attribute__((vector_size(kVectorBytes), aligned(sizeof(float)), may_alias));

// The first `count` of a vector's floats; the others are 0, which every function here takes in its stride.
INLINE Vec load_some(const float* p, int count) {
    if (count == kLanes) return *reinterpret_cast<const LooseVec*>(p);
    Vec v = {};
    std::memcpy(&v, p, count * sizeof(float));
    return v;
}

INLINE void store_some(float* p, Vec v, int count) {
    if (count == kLanes)
        *reinterpret_cast<LooseVec*>(p) = v;
    else
        std::memcpy(p, &v, count * sizeof(float));
}

// Calls body(place of a vector in [rows, units], in [rows, 4 units], how many floats) for all of them.
template <class Body>
INLINE void for_units(int64_t rows, int64_t units, Body body) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t unit = 0; unit < units; unit += kLanes) {
            const int count = static_cast<int>(units - unit < kLanes ? units - unit : kLanes);
            body(row * units + unit, 4 * row * units + unit, count);
        }
}

}  // namespace

extern "C" {

void rnnzoo_activate(float* gates, const float* previous, float* cells, float* squashed, float* hidden,
                     int64_t rows, int64_t units) {
    for_units(rows, units, [&](int64_t at, int64_t gate, int count) {
        Vec i = load_some(gates + gate, count), f = load_some(gates + gate + units, count),
            g = load_some(gates + gate + 2 * units, count), o = load_some(gates + gate + 3 * units, count);
        sigmoid_pair(i, f);
        tanh_and_sigmoid(g, o);
        Vec c = i * g;
        if (previous) c += f * load_some(previous + at, count);
        const Vec s = tanh_of(c);
        store_some(gates + gate, i, count);
        store_some(gates + gate + units, f, count);
        store_some(gates + gate + 2 * units, g, count);
        store_some(gates + gate + 3 * units, o, count);
        store_some(cells + at, c, count);
        store_some(squashed + at, s, count);
        store_some(hidden + at, o * s, count);
    });
}

void rnnzoo_deactivate(const float* gates, const float* previous, const float* squashed, const float* d_hidden,
                       float* d_cells, float* d_gates, int64_t rows, int64_t units) {
    for_units(rows, units, [&](int64_t at, int64_t gate, int count) {
        const Vec i = load_some(gates + gate, count), f = load_some(gates + gate + units, count),
                  g = load_some(gates + gate + 2 * units, count), o = load_some(gates + gate + 3 * units, count),
                  s = load_some(squashed + at, count), dh = load_some(d_hidden + at, count);
        const Vec before = previous ? load_some(previous + at, count) : Vec{};
        const Vec dc = load_some(d_cells + at, count) + dh * o * (1.0f - s * s);
        const Vec dc_i = dc * i, dc_f = dc * f;
        store_some(d_gates + gate, dc_i * g * (1.0f - i), count);
        store_some(d_gates + gate + units, dc_f * before * (1.0f - f), count);
        store_some(d_gates + gate + 2 * units, dc_i * (1.0f - g * g), count);
        store_some(d_gates + gate + 3 * units, dh * s * o * (1.0f - o), count);
        store_some(d_cells + at, dc_f, count);
    });
}

}  // extern "C"
