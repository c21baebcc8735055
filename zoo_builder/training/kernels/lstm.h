// Matrix products in registers, and one layer of an LSTM forward and backward over a group of sequences.
//
// A group is kRows sequences, few enough for all that a step of training must remember to stay in the L2
// cache. Arrays are [step, row, unit], a row being a sequence of the group.

#pragma once

#include <cstddef>
#include <type_traits>

#include "shape.h"

constexpr int kRows = 16;
constexpr int kVectors = kUnits / kLanes;

// Calls body(start, std::integral_constant<int, size>) for 0, Step, 2 Step, ...; the last size may be smaller.
template <int Total, int Step, class Body>
INLINE void for_tiles(Body body) {
    for (int start = 0; start + Step <= Total; start += Step) body(start, std::integral_constant<int, Step>{});
    if constexpr (Total % Step != 0)
        body(Total - Total % Step, std::integral_constant<int, Total % Step>{});
}

// How many rows and vectors of a product to keep in registers: enough independent sums to hide the latency of
// the multiplier, and as square as may be, so that a loaded value is used often.
constexpr int tile_vectors(int vectors) { return vectors < 4 ? vectors : 4; }
constexpr int tile_rows(int vectors) { return kAccumulators / vectors < 8 ? kAccumulators / vectors : 8; }

// sum[r][v] += sum_k a[r, k] b[k, v], with a's strides (row, k) and b's strides (k, vector) in floats.
template <int Rows, int Vectors>
INLINE void multiply_add(Sums<Rows, Vectors>& sum, const float* a, int a_row, int a_depth, const float* b,
                         int b_depth, int b_vector, int depth) {
#pragma GCC unroll 2
    for (int k = 0; k < depth; k++) {
        Vec columns[Vectors];
        for (int v = 0; v < Vectors; v++) columns[v] = load(b + k * b_depth + v * b_vector);
        for (int r = 0; r < Rows; r++) {
            const Vec factor = broadcast(a[r * a_row + k * a_depth]);
            for (int v = 0; v < Vectors; v++) sum[r][v] += factor * columns[v];
        }
    }
}

// out[kRows, Width] = a[kRows, Depth] b[Depth, Width]; b and out have rows of Width.
template <int Width, int Depth>
INLINE void product(float* out, const float* a, int a_row, const float* b) {
    for_tiles<Width / kLanes, tile_vectors(Width / kLanes)>([&](int v, auto vectors) {
        for_tiles<kRows, tile_rows(vectors)>([&](int r, auto rows) {
            Sums<rows, vectors> sum = {};
            multiply_add(sum, a + r * a_row, a_row, 1, b + v * kLanes, Width, kLanes, Depth);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) store(out + (r + i) * Width + (v + j) * kLanes, sum[i][j]);
        });
    });
}

// out[Inputs, Width] += a[depth, Inputs]^T b[depth, Width], the gradient of a weight matrix: depth runs over
// sequences and steps.
template <int Inputs, int Width>
INLINE void add_outer_products(float* out, const float* a, int a_depth, const float* b, int depth) {
    for_tiles<Width / kLanes, tile_vectors(Width / kLanes)>([&](int v, auto vectors) {
        for_tiles<Inputs, tile_rows(vectors)>([&](int r, auto rows) {
            float* tile = out + r * Width + v * kLanes;
            Sums<rows, vectors> sum;
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) sum[i][j] = load(tile + i * Width + j * kLanes);
            multiply_add(sum, a + r, 1, a_depth, b + v * kLanes, Width, kLanes, depth);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) store(tile + i * Width + j * kLanes, sum[i][j]);
        });
    });
}

// What one layer remembers of a group's sequences for the way back.
struct LayerTrace {
    float* gates;   // [T, kRows, kGates]: sigmoid(i), sigmoid(f), tanh(g), sigmoid(o); then their gradients
    float* cells;   // [T + 1, kRows, kUnits]: c; entry 0 is the zero state before the first step
    float* hidden;  // [T + 1, kRows, kUnits]: h; entry 0 is zero
};

// One layer's matrices for the way forward and back.
struct LayerWeights {
    const float* input;           // [width, kGates]
    const float* recurrent;       // [kHidden, kGates]
    const float* start;           // b_ih + b_hh, [kGates]; with tokens in the first layer [kInputs, kGates], each
                                  // token's column of W_ih added
    const float* input_back;      // the same matrices transposed, [kGates, kUnits]
    const float* recurrent_back;
};

constexpr size_t kStateSize = kRows * kUnits;
constexpr size_t kGatesSize = kRows * kGates;

// One step t: gates = start + x_t W_ih^T + h_{t-1} W_hh^T;
// c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t).
//
// inputs: x_t, [kRows, Width], or with tokens (Width = 0) their numbers, [kRows].
template <int Width, class Input>
INLINE void forward_step(const LayerWeights& weights, const LayerTrace& trace, int t, const Input* inputs,
                         int input_row) {
    constexpr int kTile = kAccumulators < 16 ? 2 : 4;  // rows; four gates each
    const float* h_before = trace.hidden + t * kStateSize;
    for (int row = 0; row < kRows; row += kTile) {
        for (int unit = 0; unit < kUnits; unit += kLanes) {
            Sums<kTile, 4> sum;
            for (int r = 0; r < kTile; r++) {
                const float* start = weights.start + unit;
                if constexpr (Width == 0) start += inputs[row + r] * kGates;
                for (int gate = 0; gate < 4; gate++) sum[r][gate] = load(start + gate * kUnits);
            }
            if constexpr (Width != 0)
                multiply_add(sum, inputs + row * input_row, input_row, 1, weights.input + unit, kGates, kUnits,
                             Width);
            if (t > 0)
                multiply_add(sum, h_before + row * kUnits, kUnits, 1, weights.recurrent + unit, kGates, kUnits,
                             kHidden);
            Vec c[kTile], h[kTile];
            const size_t first = t * kStateSize + row * kUnits + unit;
#pragma GCC unroll 8
            for (int r = 0; r < kTile; r++) {
                sigmoid_pair(sum[r][0], sum[r][1]);
                tanh_and_sigmoid(sum[r][2], sum[r][3]);
                c[r] = sum[r][1] * load(trace.cells + first + r * kUnits) + sum[r][0] * sum[r][2];
            }
#pragma GCC unroll 8
            for (int r = 0; r < kTile; r++) h[r] = sum[r][3] * tanh_of(c[r]);
#pragma GCC unroll 8
            for (int r = 0; r < kTile; r++) {
                const size_t at = first + r * kUnits;
                float* gates = trace.gates + t * kGatesSize + (row + r) * kGates + unit;
                for (int gate = 0; gate < 4; gate++) store(gates + gate * kUnits, sum[r][gate]);
                store(trace.cells + kStateSize + at, c[r]);
                store(trace.hidden + kStateSize + at, h[r]);
            }
        }
    }
}

// Turns the gates of step t into the gradients of their pre-activations, by h = o tanh(c):
//
// dh = gradient from above + gradient from step t + 1;  dc += dh o (1 - tanh(c)^2) = dh (o - h^2 / o)
// do = dh tanh(c) o (1 - o) = dh h (1 - o);  di = dc g i (1 - i);  df = dc c_{t-1} f (1 - f);  dg = dc i (1 - g^2)
//
// Taking tanh(c) from h costs a division (o is never 0: sigmoids saturate), and saves keeping it for all steps.
INLINE void gate_gradients(const LayerTrace& trace, int t, const float* from_above, const float* from_next,
                           float* cell_gradients) {
    for (int row = 0; row < kRows; row++) {
        for (int unit = 0; unit < kUnits; unit += kLanes) {
            const int place = row * kUnits + unit;
            const size_t at = t * kStateSize + place;
            float* gates = trace.gates + t * kGatesSize + row * kGates + unit;
            const Vec i = load(gates), f = load(gates + kUnits), g = load(gates + 2 * kUnits),
                      o = load(gates + 3 * kUnits), h = load(trace.hidden + kStateSize + at);
            const Vec dh = load(from_above + place) + load(from_next + place);
            const Vec dc = load(cell_gradients + place) + dh * (o - h * h / o);
            const Vec dc_i = dc * i, dc_f = dc * f;
            store(gates, dc_i * g * (1.0f - i));
            store(gates + kUnits, dc_f * load(trace.cells + at) * (1.0f - f));
            store(gates + 2 * kUnits, dc_i - dc_i * g * g);
            store(gates + 3 * kUnits, dh * h * (1.0f - o));
            store(cell_gradients + place, dc_f);
        }
    }
}

// One layer's share of the gradient, in the packed layout.
struct LayerGradients {
    float* input;      // [width, kGates]
    float* recurrent;  // [kHidden, kGates]
    float* bias;       // [kGates]
};

// Steps whose gate gradients are gathered before they are multiplied into the weights' gradients: as many as
// stay in the L1 cache.
constexpr int kGatheredSteps = 4;

// bias[kGates] += the sum of the rows of gates[depth, kGates].
INLINE void add_rows(float* bias, const float* gates, int depth) {
    for_tiles<kGates / kLanes, 8>([&](int v, auto vectors) {
        Sums<1, vectors> sums;
        auto& sum = sums[0];
        for (int j = 0; j < vectors; j++) sum[j] = load(bias + (v + j) * kLanes);
        for (int k = 0; k < depth; k++)
            for (int j = 0; j < vectors; j++) sum[j] += load(gates + k * kGates + (v + j) * kLanes);
        for (int j = 0; j < vectors; j++) store(bias + (v + j) * kLanes, sum[j]);
    });
}

// input[token of row] += the row, for the rows of gates[depth, kGates]: an outer product with one-hot vectors.
INLINE void add_to_token_rows(float* input, const uint8_t* tokens, const float* gates, int depth) {
    for (int k = 0; k < depth; k++) {
        float* row = input + tokens[k] * kGates;
        for (int v = 0; v < kGates; v += kLanes) store(row + v, load(row + v) + load(gates + k * kGates + v));
    }
}

// The way back through one layer, from the last step to the first.
//
// from_above: gradients of the layer's h from the layer above (or the head), [T, kRows, kUnits]; with
// InputGradient each step's entry is replaced by the gradient of the layer's input, for the layer below.
// inputs: as in `forward_step`, for all steps. dh, dc: scratch, [kRows, kUnits].
template <int Width, bool InputGradient, class Input>
INLINE void backward_layer(const LayerWeights& weights, const LayerTrace& trace, int steps, const Input* inputs,
                           int input_row, float* from_above, float* dh, float* dc,
                           const LayerGradients& gradients) {
    std::memset(dh, 0, kStateSize * sizeof(float));
    std::memset(dc, 0, kStateSize * sizeof(float));
    int gathered = 0;
    for (int t = steps - 1; t >= 0; t--) {
        float* above = from_above + t * kStateSize;
        const float* gates = trace.gates + t * kGatesSize;
        gate_gradients(trace, t, above, dh, dc);
        if (t > 0) product<kUnits, kGates>(dh, gates, kGates, weights.recurrent_back);
        if constexpr (InputGradient) product<kUnits, kGates>(above, gates, kGates, weights.input_back);
        if (++gathered < kGatheredSteps && t > 0) continue;

        const int depth = gathered * kRows;
        add_rows(gradients.bias, gates, depth);
        add_outer_products<kHidden, kGates>(gradients.recurrent, trace.hidden + t * kStateSize, kUnits, gates,
                                            depth);
        const Input* chunk = inputs + static_cast<ptrdiff_t>(t) * kRows * input_row;
        if constexpr (Width == 0)
            add_to_token_rows(gradients.input, chunk, gates, depth);
        else
            add_outer_products<Width, kGates>(gradients.input, chunk, input_row, gates, depth);
        gathered = 0;
    }
}
