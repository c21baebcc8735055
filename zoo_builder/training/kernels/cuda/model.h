// A model that a block works with: its weights, and what follows from them.

#pragma once

#include "arena.h"
#include "block.h"

constexpr int start_rows(int layer) { return kTokens && layer == 0 ? kInputs : 1; }

// A model's packed weights, and what is derived from them after each update; `backward` of it only for training.
struct Model {
    float *weights, *start[kLayers], *input_back[kLayers], *recurrent_back[kLayers];

    Model(Arena& arena, bool backward) : weights(arena.take<float>(kPackedSize)) {
        for (int layer = 0; layer < kLayers; layer++) {
            start[layer] = arena.take<float>(start_rows(layer) * kSumRow);
            recurrent_back[layer] = arena.take<float>(backward ? kGateRow * kUnits : 0);
            input_back[layer] = arena.take<float>(backward && layer > 0 ? kGateRow * kUnits : 0);
        }
    }
};

constexpr int64_t whole_fours(int64_t floats) { return (floats + 3) / 4 * 4; }  // arrays begin at whole 16 bytes

constexpr int64_t model_bytes(bool backward) {
    int64_t floats = whole_fours(kPackedSize);
    for (int layer = 0; layer < kLayers; layer++) {
        floats += whole_fours(start_rows(layer) * kSumRow);
        if (backward) floats += (layer == 0 ? 1 : 2) * whole_fours(kGateRow * kUnits);
    }
    return floats * static_cast<int64_t>(sizeof(float));
}

// What follows from the weights. bad: counts those that are not finite, from 0.
ONCE void derive(const Block& block, const Model& model, int* bad, bool backward) {
    const float* weights = model.weights;
    each(block, kPackedSize, [&](int p) {
        if (!(weights[p] * 0.0f == 0.0f)) add_one(bad);
    });
    const bool finite = *bad == 0;
    Phase phase{block};
    for (int layer = 0; layer < kLayers; layer++) {
        phase.share(start_rows(layer) * kSumRow, [&](int i) {
            const int sum = i % kSumRow, token = i / kSumRow;
            const bool of_input = sum < kGateRow, of_state = sum >= kFirstStateSum;
            float start = of_input ? weights[bias_ih_offset(layer) + sum] : 0.0f;
            if (of_state) {
                const float bias_hh = weights[bias_hh_offset(layer) + sum - kFirstStateSum];
                start = of_input ? start + bias_hh : bias_hh;
            }
            if (kTokens && layer == 0 && of_input) start += weights[input_offset(0) + token * kGateRow + sum];
            model.start[layer][i] = finite ? start : NAN;
        });
        if (!backward) continue;
        const auto transpose = [&](int from, float* to) {
            phase.share(kGateRow * kUnits, [&](int i) {
                const int k = i % kUnits;
                to[i] = k < kHidden ? weights[from + k * kGateRow + i / kUnits] : 0.0f;
            });
        };
        transpose(recurrent_offset(layer), model.recurrent_back[layer]);
        if (layer > 0) transpose(input_offset(layer), model.input_back[layer]);
    }
    block.wait();
}

// Calls visit(flat index, packed index) for this thread's share of the parameters, and waits for all threads.
template <class Visit>
INLINE void each_parameter(const Block& block, Visit visit) {
    for_each_parameter([&](int flat, int packed) {
        if (flat % block.threads == block.thread) visit(flat, packed);
    });
    block.wait();
}

// Reads a model's weights from flat ones; `bad` is counted from 0 then.
INLINE void read_weights(const Block& block, const Model& model, const float* flat, int* bad) {
    each(block, kPackedSize, [&](int p) {
        model.weights[p] = 0.0f;
        if (p == 0) *bad = 0;
    });
    each_parameter(block, [&](int from, int to) { model.weights[to] = flat[from]; });
}

// The sums of one unit of a layer begin so; token: the input of the first layer, where it reads tokens.
template <int Layer>
INLINE void start_sums(const Model& model, float (&sums)[Cell::kSums], int token, int unit) {
    const float* start = model.start[Layer] + unit + (kTokens && Layer == 0 ? token * kSumRow : 0);
    for (int s = 0; s < Cell::kSums; s++) sums[s] = start[s * kUnits];
}

// Calls body(Constant<layer>) for all layers.
template <int Layer = 0, class Body>
INLINE void for_layers(Body body) {
    body(Constant<Layer>{});
    if constexpr (Layer + 1 < kLayers) for_layers<Layer + 1>(body);
}
