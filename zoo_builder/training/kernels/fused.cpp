// Trains, scores and samples N small RNNs, one model a thread at a time: the C functions behind `FusedCpuKernel`.
//
// A model's weights, AdamW's moments and everything a group of sequences remembers for the way back live in one
// workspace of a thread, which fits the L2 cache; a model takes all its steps there before the next one starts.
// Sums run in an order that depends on the shapes alone, so results do not depend on neighbours or threads.
// What depends on the cell stands in the cell's own header (see cell.h).

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <new>

#include "head.h"
#include "threads.h"

namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
constexpr float kEpsilon = 1e-8f;

struct Workspace {
    Arena arena;
    Model model;
    Group group;

    explicit Workspace(int steps)
        : arena(kModelSize + Group::size(steps)), model(arena), group(arena, steps) {}
};

// One AdamW update (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it; `step` counts from 1.
void adamw(Model& model, int64_t step, double learning_rate, double weight_decay) {
    const float keep = static_cast<float>(1 - learning_rate * weight_decay);
    const float rate = static_cast<float>(learning_rate / (1 - std::pow(kBeta1, step)));
    const float correction = static_cast<float>(1 / std::sqrt(1 - std::pow(kBeta2, step)));
    const float new1 = static_cast<float>(1 - kBeta1);
    const float old2 = static_cast<float>(kBeta2), new2 = static_cast<float>(1 - kBeta2);
    for (int p = 0; p < kPackedSize; p += kLanes) {
        const Vec g = load(model.gradient + p);
        Vec m = load(model.first_moment + p), v = load(model.second_moment + p);
        m += (g - m) * new1;
        v = v * old2 + g * g * new2;
        const Vec root = square_root(v) * correction + kEpsilon;
        store(model.first_moment + p, m);
        store(model.second_moment + p, v);
        store(model.weights + p, load(model.weights + p) * keep - m * rate / root);
    }
}

// Loss of one batch of a run, and its gradient in `model.gradient`.
float loss_and_gradient(Model& model, Group& group, const Data& data, int64_t run, const int32_t* item_ids,
                        int64_t sequences) {
    model.clear_gradient();
    double loss = 0;
    for (int64_t first = 0; first < sequences; first += kRows) {
        alignas(kVectorBytes) float shares[kRows];
        double losses[kRows] = {};
        for (int row = 0; row < kRows; row++)
            shares[row] = first + row < sequences ? 1.0f / (static_cast<float>(sequences) * group.steps) : 0.0f;
        gather(group, data, run, item_ids + first, sequences - first);
        forward(model, group);
        head(model, group, shares, losses);
        backward(model, group);
        for (int row = 0; row < kRows && first + row < sequences; row++) loss += losses[row];
    }
    model.finish_gradient();
    return static_cast<float>(loss / (static_cast<double>(sequences) * group.steps));
}

// Calls work(workspace, model) for every model, from `threads` threads that take the next model when free.
// Returns false where memory is short.
template <class Work>
bool for_each_model(int64_t models, int threads, int64_t steps, Work work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> complete{true};
    on_threads(std::min<int64_t>(threads, models), [&] {
        try {
            Workspace workspace(static_cast<int>(steps));
            for (int64_t model = next++; model < models; model = next++) work(workspace, model);
        } catch (const std::bad_alloc&) {
            complete = false;
        }
    });
    return complete;
}

}  // namespace

// ------------------------------------------------------------------------------------------- entry points
// Shapes and meanings are those of the `Kernel` protocol. Each returns 0, or 1 where memory is short.

extern "C" {

int rnnzoo_parameters() { return flat_size(); }

int rnnzoo_train(const Data* data, float* weights, float* first_moments, float* second_moments,
                 const int32_t* item_ids, const float* learning_rates, const float* weight_decays, float* losses,
                 int64_t models, int64_t train_steps, int64_t sequences, int64_t steps_before, int threads) {
    const auto train_model = [&](Workspace& workspace, int64_t n) {
        Model& model = workspace.model;
        const int64_t flat = n * flat_size();
        pack(weights + flat, model.weights);
        pack(first_moments + flat, model.first_moment);
        pack(second_moments + flat, model.second_moment);
        for (int64_t s = n * train_steps; s < (n + 1) * train_steps; s++) {
            derive(model);
            losses[s] = loss_and_gradient(model, workspace.group, *data, n, item_ids + s * sequences, sequences);
            adamw(model, steps_before + s - n * train_steps + 1, learning_rates[s], weight_decays[n]);
        }
        unpack(model.weights, weights + flat);
        unpack(model.first_moment, first_moments + flat);
        unpack(model.second_moment, second_moments + flat);
    };
    return for_each_model(models, threads, data->steps, train_model) ? 0 : 1;
}

int rnnzoo_score(const Data* data, const float* weights, const int32_t* item_ids, float* losses, uint8_t* correct,
                 int64_t models, int64_t sequences, int threads) {
    const auto score_model = [&](Workspace& workspace, int64_t n) {
        Model& model = workspace.model;
        Group& group = workspace.group;
        pack(weights + n * flat_size(), model.weights);
        derive(model);
        for (int64_t first = 0; first < sequences; first += kRows) {
            const int64_t at = n * sequences + first;
            gather(group, *data, n, item_ids + at, sequences - first);
            forward(model, group);
            double sums[kRows] = {};
            bool right[kRows] = {};
            for (int t = 0; t < group.steps; t++) {
                Logits logits(model, group, t);
                if (t == group.steps - 1)
                    for (int row = 0; row < kRows; row++)
                        right[row] = logits.finite(row) && logits.argmax(row) == group.targets(t)[row];
                add_losses(logits, group.targets(t), sums);
            }
            for (int row = 0; row < kRows && first + row < sequences; row++) {
                losses[at + row] = static_cast<float>(sums[row] / group.steps);
                correct[at + row] = right[row];
            }
        }
    };
    return for_each_model(models, threads, data->steps, score_model) ? 0 : 1;
}

int rnnzoo_sample(const float* weights, int begin, const float* uniforms, uint8_t* strings, int64_t models,
                  int64_t sequences, int64_t steps, int threads) {
    const auto sample_model = [&](Workspace& workspace, int64_t n) {
        if constexpr (kTokens) {
            Model& model = workspace.model;
            Group& group = workspace.group;
            pack(weights + n * flat_size(), model.weights);
            derive(model);
            std::memset(group.tokens.data(), begin, kRows);
            for (int64_t first = 0; first < sequences; first += kRows) {
                const int64_t rows = sequences - first < kRows ? sequences - first : kRows;
                const float* draws = uniforms + (n * sequences + first) * steps;
                for (int t = 0; t < steps; t++) {
                    for (int layer = 0; layer < kLayers; layer++) forward_layer_step(model, group, layer, t);
                    Logits logits(model, group, t);
                    bool finite[kRows];
                    for (int row = 0; row < kRows; row++) finite[row] = logits.finite(row);
                    logits.exponentiate();
                    for (int row = 0; row < kRows; row++) {
                        const float draw = draws[(row < rows ? row : rows - 1) * steps + t];
                        int token = 0;
                        float cumulated = logits.of[0][row] / logits.total[row];
                        while (token < kOutputs - 1 && cumulated <= draw)
                            cumulated += logits.of[++token][row] / logits.total[row];
                        group.tokens[(t + 1) * kRows + row] = finite[row] ? token : begin;
                    }
                }
                uint8_t* written = strings + (n * sequences + first) * (steps + 1);
                for (int64_t row = 0; row < rows; row++)
                    for (int64_t t = 0; t <= steps; t++)
                        written[row * (steps + 1) + t] = group.tokens[t * kRows + row];
            }
        }
    };
    return for_each_model(models, threads, steps, sample_model) ? 0 : 1;
}

}  // extern "C"
