// One recurrent layer, forward and backward over a group of sequences.
//
// A group is kRows sequences, few enough for all that a step of training must remember to stay in the L2
// cache. Arrays are [step, row, unit], a row being a sequence of the group.

#pragma once

#include <algorithm>
#include <cstddef>

#include "gate_products.h"
#include "products.h"
#include "shape.h"

// What one layer remembers of a group's sequences for the way back.
struct LayerTrace {
    float* sums;    // [T, kRows, kSumRow]: what the cell left in its sums; then the sums' gradients
    float* memory;  // [T + 1, kRows, kUnits], where the cell has one; entry 0 is the zero state before the first step
    float* hidden;  // [T + 1, kRows, kUnits]: h; entry 0 is zero
};

// One layer's matrices for the way forward and back.
struct LayerWeights {
    const float* input;           // [width, kGateRow]
    const float* recurrent;       // [kHidden, kGateRow]
    const float* start;           // both biases, [kSumRow]; with tokens in the first layer [kInputs, kSumRow], each
                                  // token's column of W_ih added
    const float* input_back;      // the same matrices transposed, [kGateRow, kUnits]
    const float* recurrent_back;
};

constexpr size_t kStateSize = kRows * kUnits;
constexpr size_t kSumsSize = kRows * kSumRow;

// The tile of a step that stays in registers: the sums of so many rows and vectors of units. At a time as many of
// them grow as the cell has gates; beside those there must be room for a row of weights and for the sums that wait.
constexpr int kTileUnits = Cell::kSums == 1 && kVectors > 1 ? 2 : 1;
constexpr int kGrowingSums = kAccumulators < 16 ? 10 : 24;
constexpr int kTileRows = std::min(4, kGrowingSums / (Cell::kGates * kTileUnits));

// Step t of a tile of rows and units.
template <int Width, int Rows, int Units, class Input>
INLINE void forward_tile(const LayerWeights& weights, const LayerTrace& trace, int t, int row, int unit,
                         const Input* inputs, int input_row) {
    constexpr int kStates = Rows * Units;
    TileSums<Rows, Units> sum;
    for (int r = 0; r < Rows; r++) {
        const float* start = weights.start + unit;
        if constexpr (Width == 0) start += inputs[row + r] * kSumRow;
        for (int u = 0; u < Units; u++)
            for (int s = 0; s < Cell::kSums; s++) sum[r * Units + u][s] = load(start + s * kUnits + u * kLanes);
    }
    if constexpr (Width != 0)
        multiply_add_gates<kFirstInput, Rows, Units>(sum, inputs + row * input_row, input_row, weights.input + unit,
                                                     kUnits, Width);
    const size_t before = t * kStateSize + row * kUnits, after = before + kStateSize;
    if (t > 0)
        multiply_add_gates<kFirstState, Rows, Units>(sum, trace.hidden + before, kUnits, weights.recurrent + unit,
                                                     kUnits, kHidden);
    const auto place = [&](int state) { return state / Units * kUnits + unit + state % Units * kLanes; };
    State states[kStates];
    for (int i = 0; i < kStates; i++) {
        states[i].hidden = load(trace.hidden + before + place(i));
        if constexpr (Cell::kHasMemory) states[i].memory = load(trace.memory + before + place(i));
    }
    Cell::step(sum, states);
#pragma GCC unroll 8
    for (int i = 0; i < kStates; i++) {
        if constexpr (Cell::kKeepsSums) {
            float* sums = trace.sums + t * kSumsSize + (row + i / Units) * kSumRow + unit + i % Units * kLanes;
            for (int s = 0; s < Cell::kSums; s++) store(sums + s * kUnits, sum[i][s]);
        }
        if constexpr (Cell::kHasMemory) store(trace.memory + after + place(i), states[i].memory);
        store(trace.hidden + after + place(i), states[i].hidden);
    }
}

// One step t: the sums are start + x_t W_ih^T + h_{t-1} W_hh^T; the cell makes the next state of them.
//
// inputs: x_t, [kRows, Width], or with tokens (Width = 0) their numbers, [kRows].
template <int Width, class Input>
INLINE void forward_step(const LayerWeights& weights, const LayerTrace& trace, int t, const Input* inputs,
                         int input_row) {
    for_tiles<kRows, kTileRows>([&](int row, auto rows) {
        for_tiles<kVectors, kTileUnits>([&](int vector, auto units) {
            forward_tile<Width, rows, units>(weights, trace, t, row, vector * kLanes, inputs, input_row);
        });
    });
}

// Turns what the cell left in the sums of step t into the sums' gradients. The gradient of h is that from above and
// that from the step after, by its W_hh.
INLINE void sum_gradients(const LayerTrace& trace, int t, const float* from_above, const float* from_next,
                          float* carried) {
    for (int row = 0; row < kRows; row++) {
        for (int unit = 0; unit < kUnits; unit += kLanes) {
            const int place = row * kUnits + unit;
            const size_t before = t * kStateSize + place, after = before + kStateSize;
            float* kept = trace.sums + t * kSumsSize + row * kSumRow + unit;
            Vec sums[Cell::kSums] = {}, carry = {};
            State state_before{load(trace.hidden + before), {}}, state_after{load(trace.hidden + after), {}};
            if constexpr (Cell::kKeepsSums)
                for (int s = 0; s < Cell::kSums; s++) sums[s] = load(kept + s * kUnits);
            if constexpr (Cell::kHasMemory) state_before.memory = load(trace.memory + before);
            if constexpr (Cell::kHasMemory) state_after.memory = load(trace.memory + after);
            if constexpr (Cell::kCarries) carry = load(carried + place);
            Cell::step_back(sums, state_before, state_after, load(from_above + place) + load(from_next + place), carry);
            for (int s = 0; s < Cell::kSums; s++) store(kept + s * kUnits, sums[s]);
            if constexpr (Cell::kCarries) store(carried + place, carry);
        }
    }
}

// One layer's share of the gradient, in the packed layout.
struct LayerGradients {
    float* input;      // [width, kGateRow]
    float* recurrent;  // [kHidden, kGateRow]
    float* sums;       // of what both biases add to the sums, [kSumRow]
};

// Steps whose sums' gradients are gathered before they are multiplied into the weights' gradients: as many as
// stay in the L1 cache.
constexpr int kGatheredSteps = 16 / Cell::kSums;

// The way back through one layer, from the last step to the first.
//
// from_above: gradients of the layer's h from the layer above (or the head), [T, kRows, kUnits]; with
// InputGradient each step's entry is replaced by the gradient of the layer's input, for the layer below.
// inputs: as in `forward_step`, for all steps. from_next, carried: scratch, [kRows, kUnits].
template <int Width, bool InputGradient, class Input>
INLINE void backward_layer(const LayerWeights& weights, const LayerTrace& trace, int steps, const Input* inputs,
                           int input_row, float* from_above, float* from_next, float* carried,
                           const LayerGradients& gradients) {
    std::memset(from_next, 0, kStateSize * sizeof(float));
    std::memset(carried, 0, kStateSize * sizeof(float));
    int gathered = 0;
    for (int t = steps - 1; t >= 0; t--) {
        float* above = from_above + t * kStateSize;
        const float* sums = trace.sums + t * kSumsSize;
        const float* recurrent_sums = sums + kFirstStateSum;
        sum_gradients(trace, t, above, from_next, carried);
        if (t > 0) product<kUnits, kGateRow>(from_next, recurrent_sums, kSumRow, weights.recurrent_back);
        if constexpr (InputGradient) product<kUnits, kGateRow>(above, sums, kSumRow, weights.input_back);
        if (++gathered < kGatheredSteps && t > 0) continue;

        const int depth = gathered * kRows;
        add_rows<kSumRow>(gradients.sums, sums, depth);
        add_outer_products<kHidden, kGateRow>(gradients.recurrent, trace.hidden + t * kStateSize, kUnits,
                                              recurrent_sums, kSumRow, depth);
        const Input* chunk = inputs + static_cast<ptrdiff_t>(t) * kRows * input_row;
        if constexpr (Width == 0)
            add_to_token_rows<kGateRow>(gradients.input, chunk, sums, kSumRow, depth);
        else
            add_outer_products<Width, kGateRow>(gradients.input, chunk, input_row, sums, kSumRow, depth);
        gathered = 0;
    }
}
