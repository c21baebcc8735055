// Matrix products of a thread, with sums in registers. Rows that begin at whole 16 bytes are read by four numbers at once.

#pragma once

#include "block.h"

struct alignas(16) Four {
    float of[4];
};

INLINE Four four(const float* p) { return *reinterpret_cast<const Four*>(p); }

// sums[r][First + c] += sum_k row(r)[k] columns[k * column_row + c * kUnits], k rising from 0 to Depth - 1. Aligned: rows
// begin at whole 16 bytes.
template <int First, int Columns, int Depth, bool Aligned, int Rows, int Width, class Row>
INLINE void add_products(float (&sums)[Rows][Width], Row row, const float* columns, int column_row) {
    constexpr int kByFour = Aligned ? Depth / 4 * 4 : 0;
    const auto add = [&](int k, auto factor) {
        float column[Columns];
        for (int c = 0; c < Columns; c++) column[c] = columns[k * column_row + c * kUnits];
        for (int r = 0; r < Rows; r++)
            for (int c = 0; c < Columns; c++) sums[r][First + c] = fused(factor(r), column[c], sums[r][First + c]);
    };
    for (int k = 0; k < kByFour; k += 4) {
        Four factors[Rows];
        for (int r = 0; r < Rows; r++) factors[r] = four(row(r) + k);
        for (int j = 0; j < 4; j++) add(k + j, [&](int r) { return factors[r].of[j]; });
    }
    for (int k = kByFour; k < Depth; k++) add(k, [&](int r) { return row(r)[k]; });
}

// Adds the share of layer `Layer`'s inputs, or of its state before, to the gates' sums of one unit.
template <int Layer, int Rows, class Row>
INLINE void add_input_share(Sums<Rows, Cell::kSums>& sums, Row row, const float* weights, int unit) {
    add_products<kFirstInput, Cell::kGates, input_width(Layer), (Layer > 0)>(
        sums, row, weights + input_offset(Layer) + unit, kGateRow);
}
template <int Layer, int Rows, class Row>
INLINE void add_state_share(Sums<Rows, Cell::kSums>& sums, Row row, const float* weights, int unit) {
    add_products<kFirstState, Cell::kGates, kHidden, true>(sums, row, weights + recurrent_offset(Layer) + unit, kGateRow);
}

// Logits first, ..., first + Count - 1 from the last layer's h.
template <int Count>
INLINE void add_up_logits(float (&logits)[Count], const float* hidden, const float* weights, int first) {
    const float* heads = weights + kHeadOffset + first * kUnits;
    for (int o = 0; o < Count; o++) logits[o] = weights[kHeadBiasOffset + first + o];
    for (int unit = 0; unit + 4 <= kHidden; unit += 4) {
        const Four h = four(hidden + unit);
        for (int o = 0; o < Count; o++) {
            const Four head = four(heads + o * kUnits + unit);
            for (int j = 0; j < 4; j++) logits[o] = fused(h.of[j], head.of[j], logits[o]);
        }
    }
    for (int unit = kHidden / 4 * 4; unit < kHidden; unit++)
        for (int o = 0; o < Count; o++) logits[o] = fused(hidden[unit], heads[o * kUnits + unit], logits[o]);
}

// Of the logits of one step: the largest, the exponentials of how far they are below it, and their total.
struct Softmax {
    float most, exponentials[kOutputs], total = 0.0f;

    explicit Softmax(const float* logits) : most(logits[0]) {
        for (int o = 1; o < kOutputs; o++) most = logits[o] > most ? logits[o] : most;
        for (int o = 0; o < kOutputs; o++) {
            exponentials[o] = exp_of(logits[o] - most);
            total = o == 0 ? exponentials[o] : total + exponentials[o];
        }
    }
    // -log of the probability of an output, of log_of(total).
    double loss(double log_total, float logit) const { return log_total - static_cast<double>(logit - most); }
};

// Numbers k, ..., k + Count - 1 of a row of Width; beyond it, some of the row. Aligned: all three are whole fours.
template <int Count, int Width, bool Aligned>
INLINE void read_some(float (&read)[Count], const float* row, int k) {
    if constexpr (Aligned)
        for (int r = 0; r < Count; r += 4) {
            const Four some = four(row + smaller(k + r, Width - 4));
            for (int j = 0; j < 4; j++) read[r + j] = some.of[j];
        }
    else
        for (int r = 0; r < Count; r++) read[r] = row[smaller(k + r, Width - 1)];
}
