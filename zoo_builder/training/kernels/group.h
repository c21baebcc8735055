// A group of sequences in the memory of a thread: what they are, and what the layers remember of them.

#pragma once

#include <cstdint>
#include <vector>

#include "model.h"

// Mirrors `_Data` in fused_cpu.py; tasks/data.py and `CompiledForm` say what the fields mean.
struct Data {
    const uint8_t* items;   // [I, item_bytes]
    const uint8_t* labels;  // [I], or null
    const int16_t* views;   // [N, view_bytes], or null
    int64_t item_bytes;
    int64_t view_bytes;     // F', which is item_bytes without views
    int64_t steps;          // T
    float scale, shift;     // a pixel p becomes p * scale + shift
};

namespace {

// A group of kRows sequences and all it remembers. Where there are fewer, the last one fills the other rows:
// a copy is finite if its original is, and weighs nothing.
struct Group {
    int steps;
    LayerTrace trace[kLayers];
    float* inputs;           // [T, kRows, kInputs], without tokens
    float* from_above;       // [T, kRows, kUnits]
    float* logit_gradients;  // [T, kRows, kOutputs]
    float *from_next, *carried;  // scratch of the way back, [kRows, kUnits]
    std::vector<uint8_t> tokens;  // [T + 1, kRows]: the input of step t, and the target of step t - 1
    std::vector<uint8_t> viewed;  // [F']: a run's view of one item
    uint8_t labels[kRows];

    static size_t size(size_t steps) {
        const size_t layer = steps * kSumsSize + (Cell::kHasMemory ? 2 : 1) * (steps + 1) * kStateSize;
        const size_t inputs = kTokens ? 0 : steps * kRows * kInputs;
        return kLayers * layer + inputs + steps * (kStateSize + kRows * kOutputs) + 2 * kStateSize;
    }

    Group(Arena& arena, int steps)
        : steps(steps), tokens((steps + 1) * kRows), viewed(kTokens ? steps + 1 : steps * kInputs) {
        for (LayerTrace& layer : trace) {
            layer.sums = arena.take(steps * kSumsSize);
            layer.memory = arena.take(Cell::kHasMemory ? (steps + 1) * kStateSize : 0);
            layer.hidden = arena.take((steps + 1) * kStateSize);
        }
        inputs = arena.take(kTokens ? 0 : steps * kRows * kInputs);
        from_above = arena.take(steps * kStateSize);
        logit_gradients = arena.take(steps * kRows * kOutputs);
        from_next = arena.take(kStateSize);
        carried = arena.take(kStateSize);
    }

    // h of the last layer after step t, [kRows, kUnits].
    const float* top(int t) const { return trace[kLayers - 1].hidden + (t + 1) * kStateSize; }
    const uint8_t* targets(int t) const { return kTokens ? tokens.data() + (t + 1) * kRows : labels; }
};

void see(uint8_t* __restrict viewed, const int16_t* view, const uint8_t* bytes, int64_t count) {
    for (int64_t j = 0; j < count; j++) viewed[j] = view[j] < 0 ? 0 : bytes[view[j]];
}

// A run's view of an item, [F'], as row `row` of the group.
void encode_row(Group& group, int row, float scale, float shift, const uint8_t* bytes) {
    if constexpr (kTokens) {
        for (int t = 0; t <= group.steps; t++) group.tokens[t * kRows + row] = bytes[t];
    } else {
        // Step 0 is the all-zero BEGIN, which nothing ever overwrites.
        for (int t = 1; t < group.steps; t++) {
            float* input = group.inputs + (static_cast<size_t>(t) * kRows + row) * kInputs;
            for (int d = 0; d < kInputs; d++) input[d] = bytes[(t - 1) * kInputs + d] * scale + shift;
        }
    }
}

void gather(Group& group, const Data& data, int64_t run, const int32_t* item_ids, int64_t sequences) {
    const int16_t* view = data.views == nullptr ? nullptr : data.views + run * data.view_bytes;
    for (int row = 0; row < kRows; row++) {
        const int64_t item = item_ids[row < sequences ? row : sequences - 1];
        const uint8_t* bytes = data.items + item * data.item_bytes;
        if (view != nullptr) {
            see(group.viewed.data(), view, bytes, data.view_bytes);
            bytes = group.viewed.data();
        }
        encode_row(group, row, data.scale, data.shift, bytes);
        if (!kTokens) group.labels[row] = data.labels[item];
    }
}

void forward_layer_step(const Model& model, Group& group, int layer, int t) {
    const LayerWeights weights = model.layer(layer);
    const LayerTrace& trace = group.trace[layer];
    if (layer > 0)
        forward_step<kHidden>(weights, trace, t, group.trace[layer - 1].hidden + (t + 1) * kStateSize, kUnits);
    else if constexpr (kTokens)
        forward_step<0>(weights, trace, t, group.tokens.data() + t * kRows, 1);
    else
        forward_step<kInputs>(weights, trace, t, group.inputs + static_cast<size_t>(t) * kRows * kInputs, kInputs);
}

void forward(const Model& model, Group& group) {
    for (int layer = 0; layer < kLayers; layer++)
        for (int t = 0; t < group.steps; t++) forward_layer_step(model, group, layer, t);
}

void backward(Model& model, Group& group) {
    for (int layer = kLayers - 1; layer >= 0; layer--) {
        const auto run = [&](auto width, auto input_gradient, const auto* inputs, int input_row) {
            backward_layer<width, input_gradient>(model.layer(layer), group.trace[layer], group.steps, inputs,
                                                  input_row, group.from_above, group.from_next, group.carried,
                                                  model.layer_gradients(layer));
        };
        using std::integral_constant;
        if (layer > 0)
            run(integral_constant<int, kHidden>{}, std::true_type{}, group.trace[layer - 1].hidden + kStateSize,
                kUnits);
        else if constexpr (kTokens)
            run(integral_constant<int, 0>{}, std::false_type{}, group.tokens.data(), 1);
        else
            run(integral_constant<int, kInputs>{}, std::false_type{}, group.inputs, kInputs);
    }
}

}  // namespace
