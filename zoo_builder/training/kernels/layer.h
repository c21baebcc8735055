// One recurrent layer: a step forward, a step back, and the gradients of its weights.
//
// Arrays are [row, unit]. Rows are sequences, as many of them as have their own state at the step.

#pragma once

#include <algorithm>
#include <cstddef>

#include "products.h"
#include "shape.h"

// One layer's matrices for the way forward and back.
struct LayerWeights {
    const float* input;           // [width, kGateRow]
    const float* recurrent;       // [kHidden, kGateRow]
    const float* start;           // both biases, [kSumRow]; with tokens in the first layer [kInputs, kSumRow], each
                                  // token's column of W_ih added
    const float* input_back;      // the same matrices transposed, [kGateRow, kUnits]
    const float* recurrent_back;
};

// What a layer reads at some nodes: `width` numbers each, a node's `row` numbers after those of the node before; of
// one-hot inputs (width 0) their tokens.
template <int Width, int Row, class Number>
struct Inputs {
    static constexpr int width = Width, row = Row;
    const Number* of;
    Inputs from(int64_t node) const { return {of + node * Row}; }
};
using TokenInputs = Inputs<0, 1, uint8_t>;
using ItemInputs = Inputs<kInputs, kInputs, float>;
using HiddenInputs = Inputs<kHidden, kUnits, float>;  // h of the layer below

// The state of some rows, [rows, kUnits] each.
struct States {
    float* hidden;
    float* memory;  // where the cell has one
};

// Vectors of units whose states are computed at once.
constexpr int kStepVectors = kVectors < 2 ? kVectors : 2;

// The pre-activations of columns Begin to End: start + x W_ih^T if OfInput, + h W_hh^T if OfState.
template <int Begin, int End, bool OfInput, bool OfState, class In>
ONCE void add_up_columns(const LayerWeights& weights, int rows, bool is_first, In inputs, const float* hidden,
                           float* sums) {
    // Tiles may not cross the end of the columns that are added up alike.
    for_sums<End - Begin>(rows, [&](auto& sum, int row, auto tile, int column, auto vectors) {
        for (int r = 0; r < tile; r++) {
            const float* start = weights.start + Begin + column;
            if constexpr (In::width == 0) start += inputs.of[row + r] * kSumRow;
            for (int v = 0; v < vectors; v++) sum[r][v] = load(start + v * kLanes);
        }
        if constexpr (OfInput && In::width != 0)
            multiply_add<tile, vectors>(sum, inputs.from(row).of, In::row, 1, weights.input + Begin + column, kGateRow,
                                        In::width);
        if constexpr (OfState)
            multiply_add<tile, vectors>(sum, hidden + row * kUnits, kUnits, 1,
                                        weights.recurrent + Begin - kFirstStateSum + column, kGateRow,
                                        is_first ? 0 : kHidden);
        store_sums<tile, vectors>(sum, sums + row * kSumRow + Begin + column, kSumRow);
    });
}

// The next state, of sums that are added up. Leaves in `sums` what the way back needs.
ONCE void advance(int rows, States before, float* sums, States after) {
    for (int row = 0; row < rows; row++)
        for_tiles<kVectors, kStepVectors>([&](int vector, auto vectors) {
            const int place = row * kUnits + vector * kLanes;
            float* of_units = sums + row * kSumRow + vector * kLanes;
            Sums<vectors, Cell::kSums> sum;
            State states[vectors];
            for (int v = 0; v < vectors; v++) {
                for (int s = 0; s < Cell::kSums; s++) sum[v][s] = load(of_units + s * kUnits + v * kLanes);
                states[v].hidden = load(before.hidden + place + v * kLanes);
                if constexpr (Cell::kHasMemory) states[v].memory = load(before.memory + place + v * kLanes);
            }
            Cell::step(sum, states);
            for (int v = 0; v < vectors; v++) {
                if constexpr (Cell::kKeepsSums)
                    for (int s = 0; s < Cell::kSums; s++) store(of_units + s * kUnits + v * kLanes, sum[v][s]);
                if constexpr (Cell::kHasMemory) store(after.memory + place + v * kLanes, states[v].memory);
                store(after.hidden + place + v * kLanes, states[v].hidden);
            }
        });
}

// One step of some rows: the sums are start + x W_ih^T + h W_hh^T; the cell makes the next state of them, and leaves in
// `sums` [rows, kSumRow] what the way back needs.
template <class In>
static void forward_step(const LayerWeights& weights, int rows, bool is_first, In inputs, States before, float* sums,
                         States after) {
    if constexpr (kFirstStateSum > 0)
        add_up_columns<0, kFirstStateSum, true, false>(weights, rows, is_first, inputs, before.hidden, sums);
    add_up_columns<kFirstStateSum, kGateRow, true, true>(weights, rows, is_first, inputs, before.hidden, sums);
    if constexpr (kGateRow < kSumRow)
        add_up_columns<kGateRow, kSumRow, false, true>(weights, rows, is_first, inputs, before.hidden, sums);
    advance(rows, before, sums, after);
}

// Turns what the cell left in the sums of a step into the sums' gradients. The gradient of h is that from above and
// that from the step after, by its W_hh. carried: see cell.h.
ONCE void sum_gradients(int rows, States before, States after, const float* from_above, const float* from_next,
                          float* carried, float* sums_of_step) {
    for (int row = 0; row < rows; row++) {
        for (int unit = 0; unit < kUnits; unit += kLanes) {
            const int place = row * kUnits + unit;
            float* kept = sums_of_step + row * kSumRow + unit;
            Vec sums[Cell::kSums] = {}, carry = {};
            State state_before{load(before.hidden + place), {}}, state_after{load(after.hidden + place), {}};
            if constexpr (Cell::kKeepsSums)
                for (int s = 0; s < Cell::kSums; s++) sums[s] = load(kept + s * kUnits);
            if constexpr (Cell::kHasMemory) state_before.memory = load(before.memory + place);
            if constexpr (Cell::kHasMemory) state_after.memory = load(after.memory + place);
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

// Adds what some nodes give, of which the sums' gradients are known. hidden: before the step, [nodes, kUnits].
template <class In>
static void add_weight_gradients(const LayerGradients& gradients, In inputs, const float* hidden, const float* sums,
                                 int nodes) {
    add_rows<kSumRow>(gradients.sums, sums, nodes);
    add_outer_products<kHidden, kGateRow>(gradients.recurrent, hidden, kUnits, sums + kFirstStateSum, kSumRow, nodes);
    if constexpr (In::width == 0)
        add_to_token_rows<kGateRow>(gradients.input, inputs.of, sums, kSumRow, nodes);
    else
        add_outer_products<In::width, kGateRow>(gradients.input, inputs.of, In::row, sums, kSumRow, nodes);
}
