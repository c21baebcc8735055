// The sizes of one kind of RNN, fixed when the kernel is compiled, and where its parameters stand.
//
// *Flat* is the order of `RNNSpec`: PyTorch's tensors, one after the other. *Packed* is the order the kernel
// works in: the hidden units of each gate are padded to whole vectors, gates stand where the cell wants their
// sums, and matrices of the recurrent layers are transposed, [inputs, gates, hidden units], so that a vector holds
// neighbouring units. Padded units have zero weights, hence zero state and zero gradients, for ever.

#pragma once

#include "cell.h"

constexpr int kInputs = RNNZOO_INPUTS;
constexpr int kHidden = RNNZOO_HIDDEN;
constexpr int kOutputs = RNNZOO_OUTPUTS;
constexpr int kLayers = RNNZOO_LAYERS;
constexpr bool kTokens = RNNZOO_TOKENS;  // one-hot inputs, given as token numbers

constexpr int kWhole = kLanes < 4 ? 4 : kLanes;  // one lane too reads four numbers at once where it can
constexpr int padded(int size) { return (size + kWhole - 1) / kWhole * kWhole; }

constexpr int kUnits = padded(kHidden);             // width of a row of hidden units
constexpr int kVectors = kUnits / kLanes;
constexpr int kGateRow = Cell::kGates * kUnits;     // width of a row of gates: a row of a matrix, or a bias
constexpr int kSumRow = Cell::kSums * kUnits;       // width of a row of pre-activations
constexpr int kFirstStateSum = kSumRow - kGateRow;  // where in it the sums begin that take a share of the state
constexpr int kLogits = padded(kOutputs);           // width of a row of logits

constexpr int input_width(int layer) { return layer == 0 ? kInputs : kHidden; }

// Offsets within a packed model, in floats; all are multiples of a vector.
constexpr int layer_offset(int layer) {
    return layer == 0 ? 0 : layer_offset(layer - 1) + (input_width(layer - 1) + kHidden + 2) * kGateRow;
}
constexpr int input_offset(int layer) { return layer_offset(layer); }
constexpr int recurrent_offset(int layer) { return input_offset(layer) + input_width(layer) * kGateRow; }
constexpr int bias_ih_offset(int layer) { return recurrent_offset(layer) + kHidden * kGateRow; }
constexpr int bias_hh_offset(int layer) { return bias_ih_offset(layer) + kGateRow; }
constexpr int kHeadOffset = layer_offset(kLayers);  // [outputs, hidden units]
constexpr int kHeadBiasOffset = kHeadOffset + kOutputs * kUnits;
constexpr int kPackedSize = kHeadBiasOffset + kLogits;

constexpr int flat_layer_size(int layer) { return Cell::kGates * kHidden * (input_width(layer) + kHidden + 2); }
constexpr int flat_size() {
    int size = kOutputs * (kHidden + 1);
    for (int layer = 0; layer < kLayers; layer++) size += flat_layer_size(layer);
    return size;
}

// Calls visit(flat index, packed index) for every parameter.
template <class Visit>
void for_each_parameter(Visit visit) {
    int flat = 0;
    const auto gated_matrix = [&](int packed, int width, auto place_of) {
#pragma unroll 1
        for (int gate = 0; gate < Cell::kGates; gate++)
#pragma unroll 1
            for (int unit = 0; unit < kHidden; unit++)
#pragma unroll 1
                for (int k = 0; k < width; k++) visit(flat++, packed + k * kGateRow + place_of(gate) * kUnits + unit);
    };
    const auto of_input = [](int gate) { return Cell::input_place(gate); };
    const auto of_state = [](int gate) { return gate; };
    for (int layer = 0; layer < kLayers; layer++) {
        gated_matrix(input_offset(layer), input_width(layer), of_input);
        gated_matrix(recurrent_offset(layer), kHidden, of_state);
        gated_matrix(bias_ih_offset(layer), 1, of_input);
        gated_matrix(bias_hh_offset(layer), 1, of_state);
    }
    for (int o = 0; o < kOutputs; o++)
        for (int unit = 0; unit < kHidden; unit++) visit(flat++, kHeadOffset + o * kUnits + unit);
    for (int o = 0; o < kOutputs; o++) visit(flat++, kHeadBiasOffset + o);
}

inline void pack(const float* flat, float* packed) {
    std::memset(packed, 0, kPackedSize * sizeof(float));
    for_each_parameter([&](int from, int to) { packed[to] = flat[from]; });
}

// A NaN has the same bits wherever it was made.
inline float canonical(float x) { return x == x ? x : NAN; }

inline void unpack(const float* packed, float* flat) {
    for_each_parameter([&](int to, int from) { flat[to] = canonical(packed[from]); });
}
