// Strings that one model writes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "batch.h"
#include "head.h"

namespace {

constexpr int kStrings = 512;  // written at once, at most

// Strings that have begun alike share a row, and with it all the work until they differ.
class Sampler {
  public:
    Model model;

    static size_t size() { return kModelSize + kRows * kSumRow + kLayers * 4 * kStrings * kUnits; }

    explicit Sampler(Arena& arena) : model(arena), sums_(arena.take(kRows * kSumRow)) {
        for (auto* states : {before_, after_})
            for (int layer = 0; layer < kLayers; layer++)
                states[layer] = {arena.take(kStrings * kUnits), arena.take(kStrings * kUnits)};
    }

    // uniforms [strings, steps] -> written [strings, steps + 1]; at most kStrings at once.
    void write(int begin, const float* uniforms, uint8_t* written, int strings, int64_t steps) {
        std::fill_n(row_of_, strings, 0);
        tokens_[0] = static_cast<uint8_t>(begin);
        for (const States& states : before_) {
            std::memset(states.hidden, 0, kUnits * sizeof(float));
            std::memset(states.memory, 0, kUnits * sizeof(float));
        }
        for (int string = 0; string < strings; string++) written[string * (steps + 1)] = tokens_[0];
        int rows = 1;
        for (int64_t t = 0; t < steps; t++) {
            for (int row = 0; row < rows; row += kRows) step(row, std::min(kRows, rows - row), t == 0);
            std::fill_n(child_, rows * kInputs, -1);
            int children = 0;
            for (int string = 0; string < strings; string++) {
                const int row = row_of_[string], token = draw(row, uniforms[string * steps + t], begin);
                written[string * (steps + 1) + t + 1] = static_cast<uint8_t>(token);
                int& child = child_[row * kInputs + token];
                if (child < 0) {
                    child = children++;
                    tokens_[child] = static_cast<uint8_t>(token);
                    for (int layer = 0; layer < kLayers; layer++) {
                        copy_row(after_[layer].hidden, row, before_[layer].hidden, child);
                        copy_row(after_[layer].memory, row, before_[layer].memory, child);
                    }
                }
                row_of_[string] = child;
            }
            rows = children;
        }
    }

  private:
    static States from(const States& states, int row) {
        return {states.hidden + row * kUnits, states.memory + row * kUnits};
    }
    static void copy_row(const float* source, int from, float* target, int to) {
        std::memcpy(target + to * kUnits, source + from * kUnits, kUnits * sizeof(float));
    }

    // One step of some rows, and their cumulated probabilities.
    void step(int row, int rows, bool is_first) {
        for_layers([&](auto layer) {
            const auto run = [&](auto inputs) {
                forward_step(model.layer(layer), rows, is_first, inputs, from(before_[layer], row), sums_,
                             from(after_[layer], row));
            };
            if constexpr (layer > 0)
                run(HiddenInputs{from(after_[layer - 1], row).hidden});
            else
                run(TokenInputs{tokens_ + row});
        });
        const Logits logits(model, from(after_[kLayers - 1], row).hidden, rows);
        for (int r = 0; r < rows; r++) {
            is_finite_[row + r] = logits.finite(r);
            float cumulated = 0;
            for (int o = 0; o < kOutputs; o++) {
                const float share = logits.exponential[o][r] / logits.total[r];
                cumulated = o == 0 ? share : cumulated + share;
                cumulated_[row + r][o] = cumulated;
            }
        }
    }

    int draw(int row, float uniform, int otherwise) const {
        if (!is_finite_[row]) return otherwise;
        int token = 0;
        while (token < kOutputs - 1 && cumulated_[row][token] <= uniform) token++;
        return token;
    }

    float* sums_;
    States before_[kLayers], after_[kLayers];
    uint8_t tokens_[kStrings];  // what a row reads next
    bool is_finite_[kStrings];
    float cumulated_[kStrings][kOutputs];
    int child_[kStrings * kInputs];  // of a row, by the token that it wrote; -1 where no string wrote it
    int row_of_[kStrings];
};

}  // namespace
