// One model in the memory of a thread: its packed parameters, their moments and gradients, and what is derived from
// them.

#pragma once

#include <cmath>
#include <new>

#include "layer.h"

namespace {

// Memory of one thread, aligned to whole vectors and zero at first. What is taken must be whole vectors.
class Arena {
  public:
    explicit Arena(size_t floats) : begin_(new (kAlignment) float[floats]()), next_(begin_) {}
    ~Arena() { ::operator delete[](begin_, kAlignment); }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    float* take(size_t floats) {
        float* taken = next_;
        next_ += floats;
        return taken;
    }

  private:
    static constexpr std::align_val_t kAlignment{kVectorBytes};
    float *begin_, *next_;
};

constexpr size_t kBackSize = kGateRow * kUnits;
constexpr int start_rows(int layer) { return kTokens && layer == 0 ? kInputs : 1; }
constexpr size_t kModelSize = 4 * kPackedSize + kLayers * (2 * kBackSize + 2 * kSumRow) +
                              (start_rows(0) - 1) * kSumRow + kHidden * kLogits;

// A model's packed parameters, and what is derived from them after each update.
struct Model {
    float *weights, *first_moment, *second_moment, *gradient;
    float* sum_gradients[kLayers];  // of what both biases add to the sums, [kSumRow]
    float *start[kLayers], *input_back[kLayers], *recurrent_back[kLayers], *head_forward;

    explicit Model(Arena& arena)
        : weights(arena.take(kPackedSize)),
          first_moment(arena.take(kPackedSize)),
          second_moment(arena.take(kPackedSize)),
          gradient(arena.take(kPackedSize)) {
        for (int layer = 0; layer < kLayers; layer++) {
            sum_gradients[layer] = arena.take(kSumRow);
            start[layer] = arena.take(start_rows(layer) * kSumRow);
            input_back[layer] = arena.take(kBackSize);
            recurrent_back[layer] = arena.take(kBackSize);
        }
        head_forward = arena.take(kHidden * kLogits);
    }

    LayerWeights layer(int layer) const {
        return {weights + input_offset(layer), weights + recurrent_offset(layer), start[layer], input_back[layer],
                recurrent_back[layer]};
    }
    LayerGradients layer_gradients(int layer) const {
        return {gradient + input_offset(layer), gradient + recurrent_offset(layer), sum_gradients[layer]};
    }

    void clear_gradient() {
        std::memset(gradient, 0, kPackedSize * sizeof(float));
        for (float* sums : sum_gradients) std::memset(sums, 0, kSumRow * sizeof(float));
    }
    // A bias takes the gradient of the sums that it is added to; where both biases are, they share it.
    void finish_gradient() {
        for (int layer = 0; layer < kLayers; layer++) {
            std::memcpy(gradient + bias_ih_offset(layer), sum_gradients[layer], kGateRow * sizeof(float));
            std::memcpy(gradient + bias_hh_offset(layer), sum_gradients[layer] + kFirstStateSum,
                        kGateRow * sizeof(float));
        }
    }
};

void transpose(const float* from, float* to, int rows, int columns, int to_row) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) to[c * to_row + r] = from[r * columns + c];
}

bool all_finite(const Model& model) {
    Vec zeros = {};  // NaN where a weight is not finite
    for (int p = 0; p < kPackedSize; p += kLanes) zeros += load(model.weights + p) * 0.0f;
    for (int lane = 0; lane < kLanes; lane++)
        if (zeros[lane] != 0) return false;
    return true;
}

void derive(Model& model) {
    // Gates saturate, and no product is taken with the zeros of one-hot inputs and first states, so a weight that
    // is not finite could go unseen. Let it reach everything instead: such a model's loss is NaN.
    const bool finite = all_finite(model);
    for (int layer = 0; layer < kLayers; layer++) {
        const float* bias_ih = model.weights + bias_ih_offset(layer);
        const float* bias_hh = model.weights + bias_hh_offset(layer);
        const float* input = model.weights + input_offset(layer);
        for (int token = 0; token < start_rows(layer); token++)
            for (int sum = 0; sum < kSumRow; sum++) {
                const bool of_input = sum < kGateRow, of_state = sum >= kFirstStateSum;
                float start = of_input ? bias_ih[sum] : bias_hh[sum - kFirstStateSum];
                if (of_input && of_state) start += bias_hh[sum - kFirstStateSum];
                if (kTokens && layer == 0 && of_input) start += input[token * kGateRow + sum];
                model.start[layer][token * kSumRow + sum] = finite ? start : __builtin_nanf("");
            }
        transpose(model.weights + recurrent_offset(layer), model.recurrent_back[layer], kHidden, kGateRow, kUnits);
        if (layer > 0) transpose(input, model.input_back[layer], kHidden, kGateRow, kUnits);
    }
    for (int o = 0; o < kOutputs; o++)
        for (int unit = 0; unit < kHidden; unit++)
            model.head_forward[unit * kLogits + o] = model.weights[kHeadOffset + o * kUnits + unit];
}

}  // namespace
