// The head: logits, their cross-entropy, and the way back from it.

#pragma once

#include "group.h"

namespace {

// Logits of one step, one vector lane a sequence: [kOutputs, kRows].
struct Logits {
    alignas(kVectorBytes) float of[kOutputs][kRows];
    alignas(kVectorBytes) float largest[kRows];
    alignas(kVectorBytes) float total[kRows];

    Logits(const Model& model, const Group& group, int t) {
        alignas(kVectorBytes) float rows[kRows * kLogits];
        product<kLogits, kHidden>(rows, group.top(t), kUnits, model.head_forward);
        for (int o = 0; o < kOutputs; o++)
            for (int row = 0; row < kRows; row++)
                of[o][row] = rows[row * kLogits + o] + model.weights[kHeadBiasOffset + o];
    }

    // Replaces every logit x by e^(x - largest), and sums those up in `total`.
    void exponentiate() {
        for (int row = 0; row < kRows; row += kLanes) {
            Vec most = load(of[0] + row), sum = {};
            for (int o = 1; o < kOutputs; o++) {
                const Vec x = load(of[o] + row);
                most = x > most ? x : most;
            }
            for (int o = 0; o < kOutputs; o++) {
                const Vec e = exp_of(load(of[o] + row) - most);
                store(of[o] + row, e);
                sum += e;
            }
            store(largest + row, most);
            store(total + row, sum);
        }
    }

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

// Cross-entropy of step t of every sequence, -log softmax(logits)[target], added to losses[kRows]. Leaves
// exponentiated logits.
void add_losses(Logits& logits, const uint8_t* targets, double* losses) {
    float of_target[kRows];
    for (int row = 0; row < kRows; row++) of_target[row] = logits.of[targets[row]][row];
    logits.exponentiate();
    for (int row = 0; row < kRows; row++)
        losses[row] += std::log(logits.total[row]) + (logits.largest[row] - of_target[row]);
}

// Turns exponentiated logits into the gradients of the logits, (softmax - one-hot target) * share.
void logit_gradients(Logits& logits, const uint8_t* targets, const float* shares) {
    for (int row = 0; row < kRows; row += kLanes) {
        const Vec share = load(shares + row), scale = share / load(logits.total + row);
        Vec target = {};
        for (int lane = 0; lane < kLanes; lane++) target[lane] = targets[row + lane];
        for (int o = 0; o < kOutputs; o++) {
            const Vec hit = target == broadcast(static_cast<float>(o)) ? share : Vec{};
            store(logits.of[o] + row, load(logits.of[o] + row) * scale - hit);
        }
    }
}

// The head of all steps, forward and back. shares[kRows]: what a position of each sequence weighs in the loss,
// 0 for a row that only fills up. Adds each sequence's loss to losses[kRows] and the head's gradient to the
// model's, and leaves the gradient of the last layer's h in `from_above`.
void head(Model& model, Group& group, const float* shares, double* losses) {
    Vec bias_gradient[kOutputs] = {};
    for (int t = 0; t < group.steps; t++) {
        Logits logits(model, group, t);
        add_losses(logits, group.targets(t), losses);
        logit_gradients(logits, group.targets(t), shares);
        float* rows = group.logit_gradients + t * kRows * kOutputs;
        for (int o = 0; o < kOutputs; o++) {
            for (int row = 0; row < kRows; row += kLanes) bias_gradient[o] += load(logits.of[o] + row);
            for (int row = 0; row < kRows; row++) rows[row * kOutputs + o] = logits.of[o][row];
        }
        product<kUnits, kOutputs>(group.from_above + t * kStateSize, rows, kOutputs, model.weights + kHeadOffset);
    }
    for (int o = 0; o < kOutputs; o++) model.gradient[kHeadBiasOffset + o] += sum_of(bias_gradient[o]);
    add_outer_products<kOutputs, kUnits>(model.gradient + kHeadOffset, group.logit_gradients, kOutputs,
                                         group.top(0), kUnits, group.steps * kRows);
}

}  // namespace
