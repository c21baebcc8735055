// One recurrent layer of N models, each with weights of its own that stay as they are, over some steps forward or
// back: the C functions behind `frozen_layers.py`, which says what the arrays are. G gates and S sums: see cell.h.
//
// A model takes all the steps before the next one begins, so that its weights stay in the cache; a step keeps the
// sums of a tile of rows in registers from the bias to the state.

#include <algorithm>
#include <atomic>
#include <type_traits>

#include "gate_products.h"
#include "threads.h"

// Mirrors `_Layer` in frozen_layers.py. H must be a multiple of a vector; D is padded to one where it says so.
struct Layer {
    const float *input, *recurrent, *bias;     // [N, D, GH], [N, H, GH], [N, SH]
    const float *input_back, *recurrent_back;  // [N, GH, padded D], [N, GH, H]
    int64_t models, units, width, padded;      // N, H, D, padded D
};

// Mirrors `_Trace`: what the layer's steps leave behind.
struct Trace {
    float *sums, *hidden, *memory;  // [T, N, B, SH], then [T, N, B, H]; no memory in a cell without one
    int64_t rows;                   // B
};

namespace {

constexpr int kGates = Cell::kGates, kSums = Cell::kSums;

// Of a tile: rows, and vectors of units or of columns.
constexpr int kTileUnits = kSums == 1 ? 4 : 2;
constexpr int kTileRows = kAccumulators / (kTileUnits * kSums);
constexpr int kTileColumns = 4;
constexpr int kProductRows = kAccumulators / (2 * kTileColumns);

// Calls body(first row, std::integral_constant<int, rows>) for tiles of `Most` rows, and of one row for the rest.
template <int Most, class Body>
INLINE void for_rows(int64_t rows, Body body) {
    int64_t row = 0;
    for (; row + Most <= rows; row += Most) body(row, std::integral_constant<int, Most>{});
    for (; row < rows; row++) body(row, std::integral_constant<int, 1>{});
}

// Calls body(first float, std::integral_constant<int, vectors>) for `Most` vectors at a time, then one at a time.
template <int Most, class Body>
INLINE void for_vectors(int64_t floats, Body body) {
    int64_t at = 0;
    for (; at + Most * kLanes <= floats; at += Most * kLanes) body(at, std::integral_constant<int, Most>{});
    for (; at < floats; at += kLanes) body(at, std::integral_constant<int, 1>{});
}

// out[Rows, columns] = bias + a[Rows, depth] b; bias (or none) and the rows of b are padded to whole vectors.
template <int Rows>
INLINE void product(float* out, const float* bias, const float* a, int64_t a_row, const float* b, int64_t b_row,
                    int64_t depth, int64_t columns) {
    for_vectors<kTileColumns>(b_row, [&](int64_t column, auto vectors) {
        Sums<Rows, vectors> sum;
        for (int v = 0; v < vectors; v++) {
            const Vec start = bias ? load_loose(bias + column + v * kLanes) : Vec{};
            for (int r = 0; r < Rows; r++) sum[r][v] = start;
        }
        for (int64_t k = 0; k < depth; k++) {
            Vec factors[Rows];
            for (int r = 0; r < Rows; r++) factors[r] = broadcast(a[r * a_row + k]);
            for (int v = 0; v < vectors; v++) {
                const Vec values = load_loose(b + k * b_row + column + v * kLanes);
                for (int r = 0; r < Rows; r++) sum[r][v] = fused(factors[r], values, sum[r][v]);
            }
        }
        for (int r = 0; r < Rows; r++)
            for (int v = 0; v < vectors; v++) {
                const int64_t at = column + v * kLanes;
                const int64_t count = std::clamp<int64_t>(columns - at, 0, kLanes);
                store_some(out + r * columns + at, sum[r][v], static_cast<int>(count));
            }
    });
}

// The state of a vector of units; zero before the first step.
INLINE State load_state(const Trace& trace, bool exists, int64_t at) {
    State state = {};
    if (exists) state.hidden = load_loose(trace.hidden + at);
    if (exists && Cell::kHasMemory) state.memory = load_loose(trace.memory + at);
    return state;
}

// Step t of model n, of a tile from its row `place` among those of all steps; inputs [Rows, D].
template <int Rows, int Units>
INLINE void forward_tile(const Layer& layer, const Trace& trace, int64_t n, bool is_first, int64_t place,
                         int64_t unit, const float* inputs) {
    const int64_t units = layer.units, step = layer.models * trace.rows;
    TileSums<Rows, Units> sum;
    for (int i = 0; i < Rows * Units; i++)
        for (int s = 0; s < kSums; s++)
            sum[i][s] = load_loose(layer.bias + (n * kSums + s) * units + unit + i % Units * kLanes);
    multiply_add_gates<kFirstInput, Rows, Units>(
        sum, inputs, layer.width, layer.input + n * layer.width * kGates * units + unit, units, layer.width);
    if (!is_first)
        multiply_add_gates<kFirstState, Rows, Units>(
            sum, trace.hidden + (place - step) * units, units,
            layer.recurrent + n * units * kGates * units + unit, units, units);
    const auto at = [&](int i) { return (place + i / Units) * units + unit + i % Units * kLanes; };
    State states[Rows * Units];
    for (int i = 0; i < Rows * Units; i++) states[i] = load_state(trace, !is_first, at(i) - step * units);
    Cell::step(sum, states);
    for (int i = 0; i < Rows * Units; i++) {
        float* sums = trace.sums + (place + i / Units) * kSums * units + unit + i % Units * kLanes;
        if (Cell::kKeepsSums)
            for (int s = 0; s < kSums; s++) store_loose(sums + s * units, sum[i][s]);
        if (Cell::kHasMemory) store_loose(trace.memory + at(i), states[i].memory);
        store_loose(trace.hidden + at(i), states[i].hidden);
    }
}

// Step t of model n; inputs [B, D].
INLINE void forward_step(const Layer& layer, const Trace& trace, int64_t n, int64_t t, const float* inputs) {
    for_rows<kTileRows>(trace.rows, [&](int64_t row, auto rows) {
        const int64_t place = (t * layer.models + n) * trace.rows + row;
        for_vectors<kTileUnits>(layer.units, [&](int64_t unit, auto units) {
            forward_tile<rows, units>(layer, trace, n, t == 0, place, unit, inputs + row * layer.width);
        });
    });
}

// What the way back through the steps of one model takes along from step to step.
struct Gradients {
    float *hidden, *carried;  // [B, H]: of the state, by way of W_hh and by another
    float* sums;              // [B, SH]: of a step's sums
};

// The gradients of the sums of step t of model n. above [B, H]: that of h by all but later steps; d_memory: that of
// the memory likewise, or none.
INLINE void sum_gradients(const Layer& layer, const Trace& trace, int64_t n, int64_t t, const float* above,
                          const float* d_memory, const Gradients& gradients) {
    const int64_t units = layer.units, step = layer.models * trace.rows;
    const int64_t first = t * step + n * trace.rows;
    for (int64_t row = 0; row < trace.rows; row++)
        for (int64_t unit = 0; unit < units; unit += kLanes) {
            const int64_t here = row * units + unit, at = first * units + here;
            const State before = load_state(trace, t > 0, at - step * units), after = load_state(trace, true, at);
            Vec sums[kSums], carried = load_loose(gradients.carried + here);
            if (Cell::kKeepsSums)
                for (int s = 0; s < kSums; s++)
                    sums[s] = load_loose(trace.sums + ((first + row) * kSums + s) * units + unit);
            if (Cell::kHasMemory && d_memory) carried += load_loose(d_memory + here);
            Cell::step_back(sums, before, after, load_loose(above + here) + load_loose(gradients.hidden + here),
                            carried);
            for (int s = 0; s < kSums; s++)
                store_loose(gradients.sums + (row * kSums + s) * units + unit, sums[s]);
            store_loose(gradients.carried + here, carried);
        }
}

// The way back through step t of model n, to the gradients of the step before, and of the inputs [B, D].
INLINE void backward_step(const Layer& layer, const Trace& trace, int64_t n, int64_t t, const float* above,
                          const float* d_memory, const Gradients& gradients, float* d_inputs) {
    const int64_t units = layer.units, sums = kSums * units, depth = kGates * units;
    sum_gradients(layer, trace, n, t, above, d_memory, gradients);
    for_rows<kProductRows>(trace.rows, [&](int64_t row, auto rows) {
        const float* d_sums = gradients.sums + row * sums;
        if (t > 0)
            product<rows>(gradients.hidden + row * units, nullptr, d_sums + kFirstState * units, sums,
                          layer.recurrent_back + n * depth * units, units, depth, units);
        product<rows>(d_inputs + row * layer.width, nullptr, d_sums, sums, layer.input_back + n * depth * layer.padded,
                      layer.padded, depth, layer.width);
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

// What the arrays depend on in the cell.
int rnnzoo_sums() { return kSums; }
int rnnzoo_input_place(int gate) { return Cell::input_place(gate); }
bool rnnzoo_has_memory() { return Cell::kHasMemory; }

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

// above, d_memory (or none) [end - first, N, B, H]; d_hidden, carried [N, B, H]; d_sums, scratch [N, B, SH];
// d_inputs [end - first, N, B, D].
void rnnzoo_layer_backward(const Layer* layer, const Trace* trace, const float* above, const float* d_memory,
                           float* d_hidden, float* carried, float* d_sums, float* d_inputs, int64_t first,
                           int64_t end, int64_t threads) {
    const int64_t rows = trace->rows, units = layer->units;
    for_models(layer->models, threads, [&](int64_t n) {
        const Gradients gradients{d_hidden + n * rows * units, carried + n * rows * units,
                                  d_sums + n * rows * kSums * units};
        for (int64_t t = end - 1; t >= first; t--) {
            const int64_t place = ((t - first) * layer->models + n) * rows;
            backward_step(*layer, *trace, n, t, above + place * units,
                          d_memory ? d_memory + place * units : nullptr, gradients, d_inputs + place * layer->width);
        }
    });
}

// out [T, N, B, columns] = bias [N, padded columns] or none + a [T, N, B, depth] b [N, depth, padded columns]
void rnnzoo_products(float* out, const float* bias, const float* a, const float* b, int64_t steps, int64_t models,
                     int64_t rows, int64_t depth, int64_t columns, int64_t padded, int64_t threads) {
    for_models(models, threads, [&](int64_t n) {
        for (int64_t t = 0; t < steps; t++)
            for_rows<kProductRows>(rows, [&](int64_t row, auto tile) {
                const int64_t place = (t * models + n) * rows + row;
                product<tile>(out + place * columns, bias ? bias + n * padded : nullptr, a + place * depth, depth,
                              b + n * depth * padded, padded, depth, columns);
            });
    });
}

}  // extern "C"
