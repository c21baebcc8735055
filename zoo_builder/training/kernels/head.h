// The head: logits, their cross-entropy, and the way back from it.

#pragma once

#include "group.h"

namespace {

// Logits of one step, one vector lane a row: [kOutputs, kRows]. Lanes without a row hold zeros.
struct Logits {
    alignas(kVectorBytes) float of[kOutputs][kRows] = {};
    alignas(kVectorBytes) float below[kOutputs][kRows];  // how far below the largest
    alignas(kVectorBytes) float exponential[kOutputs][kRows];
    alignas(kVectorBytes) float total[kRows];  // of the exponentials
    alignas(kVectorBytes) float log_total[kRows];

    // hidden: h of the last layer, [rows, kUnits].
    Logits(const Model& model, const float* hidden, int rows) {
        alignas(kVectorBytes) float by_row[kRows * kLogits];
        product<kLogits>(by_row, model.weights + kHeadBiasOffset, hidden, kUnits, model.head_forward, kHidden, rows);
        for (int row = 0; row < rows; row++)
            for (int o = 0; o < kOutputs; o++) of[o][row] = by_row[row * kLogits + o];
        for (int row = 0; row < kRows; row += kLanes) {
            Vec most = load(of[0] + row), sum = {};
            for (int o = 1; o < kOutputs; o++) {
                const Vec x = load(of[o] + row);
                most = x > most ? x : most;
            }
            for (int o = 0; o < kOutputs; o++) {
                const Vec difference = load(of[o] + row) - most, e = exp_of(difference);
                store(below[o] + row, difference);
                store(exponential[o] + row, e);
                sum = o == 0 ? e : sum + e;
            }
            store(total + row, sum);
            store(log_total + row, log_of(sum));
        }
    }

    // Cross-entropy of a row, -log softmax(logits)[target].
    double loss(int row, int target) const { return static_cast<double>(log_total[row]) - below[target][row]; }

    bool finite(int row) const {
        for (int o = 0; o < kOutputs; o++)
            if (!std::isfinite(of[o][row])) return false;
        return true;
    }

    int argmax(int row) const {
        int best = 0;
        for (int o = 1; o < kOutputs; o++)
            if (of[o][row] > of[best][row]) best = o;
        return best;
    }
};

// The gradients of the logits, (softmax * sequences - targets) * share, [kOutputs, kRows] in `gradients`.
void logit_gradients(const Logits& logits, const float* target_counts, float share, float (&gradients)[kOutputs][kRows]) {
    for (int row = 0; row < kRows; row += kLanes) {
        Vec sequences = {};
        for (int o = 0; o < kOutputs; o++) sequences += load(target_counts + o * kRows + row);
        const Vec scale = sequences * share / load(logits.total + row);
        for (int o = 0; o < kOutputs; o++)
            store(gradients[o] + row, fused(load(logits.exponential[o] + row), scale,
                                            -(load(target_counts + o * kRows + row) * share)));
    }
}

// The head of all steps, forward and back. share: what a position of a sequence weighs in the loss. Adds the losses of
// all positions to `loss` and the head's gradient to the model's, and leaves the gradient of the last layer's h in
// `from_above`.
void head(Model& model, Group& group, float share, double& loss) {
    alignas(kVectorBytes) float gradients[kOutputs][kRows];
    float by_row[kRows * kOutputs];
    float* bias_gradient = model.gradient + kHeadBiasOffset;
    for (int t = group.steps - 1; t >= 0; t--) {
        const int rows = group.present[t];
        const float* hidden = group.top(t);
        const float* counts = group.target_counts + t * kOutputs * kRows;
        const Logits logits(model, hidden, rows);
        logit_gradients(logits, counts, share, gradients);
        for (int row = rows - 1; row >= 0; row--)
            for (int o = 0; o < kOutputs; o++) {
                if (counts[o * kRows + row] > 0) loss += counts[o * kRows + row] * logits.loss(row, o);
                bias_gradient[o] += gradients[o][row];
                by_row[row * kOutputs + o] = gradients[o][row];
            }
        product<kUnits>(group.from_above + static_cast<size_t>(group.start[t]) * kUnits, nullptr, by_row, kOutputs,
                        model.weights + kHeadOffset, kOutputs, rows);
        add_outer_products<kOutputs, kUnits>(model.gradient + kHeadOffset, by_row, kOutputs, hidden, kUnits, rows);
    }
}

}  // namespace
