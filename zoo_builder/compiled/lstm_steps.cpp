// What an LSTM step does beside its matrix products, forward and backward: one pass over memory in place of some
// ten. The C functions behind `lstm_steps.py`, which says what the arrays are.

#include "simd.h"

namespace {

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
        Gates values = load_gates(gates + gate, units, count);
        const Vec c = next_cell(values, previous ? load_some(previous + at, count) : Vec{});
        const Vec s = tanh_of(c);
        store_gates(gates + gate, values, units, count);
        store_some(cells + at, c, count);
        store_some(squashed + at, s, count);
        store_some(hidden + at, values.o * s, count);
    });
}

void rnnzoo_deactivate(const float* gates, const float* previous, const float* squashed, const float* d_hidden,
                       float* d_cells, float* d_gates, int64_t rows, int64_t units) {
    for_units(rows, units, [&](int64_t at, int64_t gate, int count) {
        Vec dc = load_some(d_cells + at, count);
        const Gates gradients = gate_gradients(
            load_gates(gates + gate, units, count), previous ? load_some(previous + at, count) : Vec{},
            load_some(squashed + at, count), load_some(d_hidden + at, count), dc);
        store_gates(d_gates + gate, gradients, units, count);
        store_some(d_cells + at, dc, count);
    });
}

}  // extern "C"
