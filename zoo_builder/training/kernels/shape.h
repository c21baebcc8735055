// The sizes of one kind of RNN, fixed when the kernel is compiled, and where its parameters stand.
//
// *Flat* is the order of `RNNSpec`: PyTorch's tensors, one after the other. *Packed* is the order the kernel
// works in: the hidden units of each gate are padded to whole vectors, and matrices of the recurrent layers are
// transposed, [inputs, 4 gates, hidden units], so that a vector holds neighbouring units. Padded units have
// zero weights, hence zero state and zero gradients, for ever.

#pragma once

#include "simd.h"

constexpr int kInputs = RNNZOO_INPUTS;
constexpr int kHidden = RNNZOO_HIDDEN;
constexpr int kOutputs = RNNZOO_OUTPUTS;
constexpr int kLayers = RNNZOO_LAYERS;
constexpr bool kTokens = RNNZOO_TOKENS;  // one-hot inputs, given as token numbers

constexpr int padded(int size) { return (size + kLanes - 1) / kLanes * kLanes; }

constexpr int kUnits = padded(kHidden);      // width of a row of hidden units
constexpr int kGates = 4 * kUnits;           // width of a row of gates i, f, g, o
constexpr int kLogits = padded(kOutputs);    // width of a row of logits

constexpr int input_width(int layer) { return layer == 0 ? kInputs : kHidden; }

// Offsets within a packed model, in floats; all are multiples of a vector.
constexpr int layer_offset(int layer) {
    return layer == 0 ? 0 : layer_offset(layer - 1) + (input_width(layer - 1) + kHidden + 2) * kGates;
}
constexpr int input_offset(int layer) { return layer_offset(layer); }
constexpr int recurrent_offset(int layer) { return input_offset(layer) + input_width(layer) * kGates; }
constexpr int bias_ih_offset(int layer) { return recurrent_offset(layer) + kHidden * kGates; }
constexpr int bias_hh_offset(int layer) { return bias_ih_offset(layer) + kGates; }
constexpr int kHeadOffset = layer_offset(kLayers);  // [outputs, hidden units]
constexpr int kHeadBiasOffset = kHeadOffset + kOutputs * kUnits;
constexpr int kPackedSize = kHeadBiasOffset + kLogits;

constexpr int flat_layer_size(int layer) { return 4 * kHidden * (input_width(layer) + kHidden + 2); }
constexpr int flat_size() {
    int size = kOutputs * (kHidden + 1);
    for (int layer = 0; layer < kLayers; layer++) size += flat_layer_size(layer);
    return size;
}

// Calls visit(flat index, packed index) for every parameter.
template <class Visit>
void for_each_parameter(Visit visit) {
    int flat = 0;
    const auto gated_matrix = [&](int packed, int width) {
        for (int gate = 0; gate < 4; gate++)
            for (int unit = 0; unit < kHidden; unit++)
                for (int k = 0; k < width; k++) visit(flat++, packed + k * kGates + gate * kUnits + unit);
    };
    for (int layer = 0; layer < kLayers; layer++) {
        gated_matrix(input_offset(layer), input_width(layer));
        gated_matrix(recurrent_offset(layer), kHidden);
        gated_matrix(bias_ih_offset(layer), 1);
        gated_matrix(bias_hh_offset(layer), 1);
    }
    for (int o = 0; o < kOutputs; o++)
        for (int unit = 0; unit < kHidden; unit++) visit(flat++, kHeadOffset + o * kUnits + unit);
    for (int o = 0; o < kOutputs; o++) visit(flat++, kHeadBiasOffset + o);
}

inline void pack(const float* flat, float* packed) {
    std::memset(packed, 0, kPackedSize * sizeof(float));
    for_each_parameter([&](int from, int to) { packed[to] = flat[from]; });
}

inline void unpack(const float* packed, float* flat) {
    for_each_parameter([&](int to, int from) { flat[to] = packed[from]; });
}
