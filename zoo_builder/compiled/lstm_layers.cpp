// One LSTM layer of N models, each with weights of its own that stay as they are, over some steps forward or back:
// the C functions behind `lstm_layers.py`, which says what the arrays are.
//
// A model takes all the steps before the next one begins, so that its weights stay in the cache; a step keeps the
// sums of a tile of rows in registers from the bias to the gates.

#include <algorithm>
#include <atomic>
#include <type_traits>

#include "simd.h"
#include "threads.h"

// Mirrors `_Layer` in lstm_layers.py. H must be a multiple of a vector; D is padded to one where it says so.
struct Layer {
    const float *input, *recurrent, *bias;     // [N, D, 4H], [N, H, 4H], [N, 4H]
    const float *input_back, *recurrent_back;  // [N, 4H, padded D], [N, 4H, H]
    int64_t models, units, width, padded;      // N, H, D, padded D
};

// Mirrors `_Trace`: what the layer's steps leave behind.
struct Trace {
    float *gates, *cells, *squashed, *hidden;  // [T, N, B, 4H], then [T, N, B, H]
    int64_t rows;                              // B
};

namespace {

constexpr int kRows = kAccumulators / 8;  // of a tile, each with up to eight vectors of sums

// Calls body(first row, std::integral_constant<int, rows>) for tiles of kRows rows, and of one row for the rest.
template <class Body>
INLINE void for_rows(int64_t rows, Body body) {
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) body(row, std::integral_constant<int, kRows>{});
    for (; row < rows; row++) body(row, std::integral_constant<int, 1>{});
}

// Calls body(first float, std::integral_constant<int, vectors>) for `Most` vectors at a time, then one at a time.
template <int Most, class Body>
INLINE void for_vectors(int64_t floats, Body body) {
    int64_t at = 0;
    for (; at + Most * kLanes <= floats; at += Most * kLanes) body(at, std::integral_constant<int, Most>{});
    for (; at < floats; at += kLanes) body(at, std::integral_constant<int, 1>{});
}

// sum[r][v] += a[r, depth] b[depth, v]; vector v of a row of b stands offset(v) floats in.
template <int Rows, int Vectors, class Offset>
INLINE void multiply_add(Sums<Rows, Vectors>& sum, const float* a, const float* b, int64_t b_row,
                         int64_t depth, Offset offset) {
    for (int64_t k = 0; k < depth; k++) {
        Vec factors[Rows];
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) factors[r] = broadcast(a[r * depth + k]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; v++) {
            const Vec column = load_loose(b + k * b_row + offset(v));
#pragma GCC unroll 8
            for (int r = 0; r < Rows; r++) sum[r][v] += factors[r] * column;
        }
    }
}

// out[Rows, columns] = bias + a[Rows, depth] b; bias (or none) and the rows of b are padded to whole vectors.
template <int Rows>
INLINE void product(float* out, const float* bias, const float* a, const float* b, int64_t b_row, int64_t depth,
                    int64_t columns) {
    for_vectors<4>(b_row, [&](int64_t column, auto vectors) {
        Sums<Rows, vectors> sum;
        for (int v = 0; v < vectors; v++) {
            const Vec start = bias ? load_loose(bias + column + v * kLanes) : Vec{};
            for (int r = 0; r < Rows; r++) sum[r][v] = start;
        }
        multiply_add(sum, a, b + column, b_row, depth, [](int v) { return v * kLanes; });
        for (int r = 0; r < Rows; r++)
            for (int v = 0; v < vectors; v++) {
                const int64_t at = column + v * kLanes;
                const int64_t count = std::clamp<int64_t>(columns - at, 0, kLanes);
                store_some(out + r * columns + at, sum[r][v], static_cast<int>(count));
            }
    });
}

// Step t of model n; inputs [B, D].
INLINE void forward_step(const Layer& layer, const Trace& trace, int64_t n, int64_t t, const float* inputs) {
    const int64_t units = layer.units, step = layer.models * trace.rows;
    for_rows(trace.rows, [&](int64_t row, auto rows) {
        const int64_t place = t * step + n * trace.rows + row;
        for_vectors<2>(units, [&](int64_t unit, auto vectors) {
            const auto offset = [&](int s) { return s / vectors * units + s % vectors * kLanes; };
            Sums<rows, 4 * vectors> sum;  // gate by gate
            for (int s = 0; s < 4 * vectors; s++) {
                const Vec start = load_loose(layer.bias + n * 4 * units + unit + offset(s));
                for (int r = 0; r < rows; r++) sum[r][s] = start;
            }
            multiply_add(sum, inputs + row * layer.width, layer.input + n * layer.width * 4 * units + unit,
                         4 * units, layer.width, offset);
            if (t > 0)
                multiply_add(sum, trace.hidden + (place - step) * units,
                             layer.recurrent + n * units * 4 * units + unit, 4 * units, units, offset);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < vectors; v++) {
                    const int64_t at = (place + r) * units + unit + v * kLanes;
                    Gates gates{sum[r][v], sum[r][vectors + v], sum[r][2 * vectors + v], sum[r][3 * vectors + v]};
                    const Vec c = next_cell(gates, t > 0 ? load_loose(trace.cells + at - step * units) : Vec{});
                    const Vec s = tanh_of(c);
                    store_gates(trace.gates + (place + r) * 4 * units + unit + v * kLanes, gates, units);
                    store_loose(trace.cells + at, c);
                    store_loose(trace.squashed + at, s);
                    store_loose(trace.hidden + at, gates.o * s);
                }
        });
    });
}

// The way back through step t of model n. above [B, H]: the gradient of h but for what comes by way of step t + 1,
// which is in d_hidden [B, H] and becomes that of step t; d_cells likewise. d_squashed: of tanh(c), or none.
// d_gates [B, 4H] is scratch.
INLINE void backward_step(const Layer& layer, const Trace& trace, int64_t n, int64_t t, const float* above,
                          const float* d_squashed, float* d_hidden, float* d_cells, float* d_gates,
                          float* d_inputs) {
    const int64_t units = layer.units, step = layer.models * trace.rows;
    const int64_t first = t * step + n * trace.rows;
    for (int64_t row = 0; row < trace.rows; row++)
        for (int64_t unit = 0; unit < units; unit += kLanes) {
            const int64_t here = row * units + unit, at = first * units + here;
            const Vec squashed = load_loose(trace.squashed + at);
            Vec dc = load_loose(d_cells + here);
            if (d_squashed) dc += load_loose(d_squashed + here) * (1.0f - squashed * squashed);
            const Gates gradients =
                gate_gradients(load_gates(trace.gates + (first + row) * 4 * units + unit, units),
                               t > 0 ? load_loose(trace.cells + at - step * units) : Vec{}, squashed,
                               load_loose(above + here) + load_loose(d_hidden + here), dc);
            store_gates(d_gates + row * 4 * units + unit, gradients, units);
            store_loose(d_cells + here, dc);
        }
    for_rows(trace.rows, [&](int64_t row, auto rows) {
        const float* gradients = d_gates + row * 4 * units;
        if (t > 0)
            product<rows>(d_hidden + row * units, nullptr, gradients, layer.recurrent_back + n * 4 * units * units,
                          units, 4 * units, units);
        product<rows>(d_inputs + row * layer.width, nullptr, gradients,
                      layer.input_back + n * 4 * units * layer.padded, layer.padded, 4 * units, layer.width);
    });
}

// Calls work(model) for every model, from `threads` threads that take the next model when free.
template <class Work>
void for_models(int64_t models, int64_t threads, Work work) {
    std::atomic<int64_t> next{0};
    on_threads(std::min(threads, models), [&] {
        for (int64_t n = next++; n < models; n = next++) work(n);
    });
}

}  // namespace

extern "C" {

// inputs [end - first, N, B, D], or [end - first, B, D] where all models share them.
void rnnzoo_layer_forward(const Layer* layer, const Trace* trace, const float* inputs, bool shared, int64_t first,
                          int64_t end, int64_t threads) {
    const int64_t block = trace->rows * layer->width;
    for_models(layer->models, threads, [&](int64_t n) {
        for (int64_t t = first; t < end; t++) {
            const int64_t place = shared ? t - first : (t - first) * layer->models + n;
            forward_step(*layer, *trace, n, t, inputs + place * block);
        }
    });
}

// above, d_squashed (or none) [end - first, N, B, H]; d_hidden, d_cells [N, B, H]; scratch [N, B, 4H];
// d_inputs [end - first, N, B, D].
void rnnzoo_layer_backward(const Layer* layer, const Trace* trace, const float* above, const float* d_squashed,
                           float* d_hidden, float* d_cells, float* scratch, float* d_inputs, int64_t first,
                           int64_t end, int64_t threads) {
    const int64_t rows = trace->rows, units = layer->units;
    for_models(layer->models, threads, [&](int64_t n) {
        for (int64_t t = end - 1; t >= first; t--) {
            const int64_t place = ((t - first) * layer->models + n) * rows;
            backward_step(*layer, *trace, n, t, above + place * units,
                          d_squashed ? d_squashed + place * units : nullptr, d_hidden + n * rows * units,
                          d_cells + n * rows * units, scratch + n * rows * 4 * units,
                          d_inputs + place * layer->width);
        }
    });
}

// out [T, N, B, columns] = bias [N, padded columns] or none + a [T, N, B, depth] b [N, depth, padded columns]
void rnnzoo_products(float* out, const float* bias, const float* a, const float* b, int64_t steps, int64_t models,
                     int64_t rows, int64_t depth, int64_t columns, int64_t padded, int64_t threads) {
    for_models(models, threads, [&](int64_t n) {
        for (int64_t t = 0; t < steps; t++)
            for_rows(rows, [&](int64_t row, auto tile) {
                const int64_t place = (t * models + n) * rows + row;
                product<tile>(out + place * columns, bias ? bias + n * padded : nullptr, a + place * depth,
                              b + n * depth * padded, padded, depth, columns);
            });
    });
}

}  // extern "C"
