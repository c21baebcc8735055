// Trains, scores and samples N small RNNs, one model a thread at a time: the C functions behind `FusedCpuKernel`.
//
// A model's weights, AdamW's moments and everything a group of sequences remembers for the way back live in one
// workspace of a thread, which fits the L2 cache; a model takes all its steps there before the next one starts.
// docs/arithmetic.md says what is computed, in which order. What depends on the cell stands in its own header (see cell.h).

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>

#include "head.h"
#include "sampler.h"
#include "threads.h"

namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
constexpr float kEpsilon = 1e-8f;
constexpr int64_t kScored = 1024;  // sequences scored at once, at most

struct Trainer {
    const Data& data;
    Model model;
    Group group;
    Batch batch;

    Trainer(Arena& arena, const Data& data)
        : data(data), model(arena), group(arena, static_cast<int>(data.steps)), batch(data) {}
    static size_t size(int64_t steps) { return kModelSize + Group::size(steps); }

    // Calls visit() for every group of the batch, when its forward pass is done.
    template <class Visit>
    void for_groups(Visit visit) {
        for (int row = 0; row < batch.rows(); row += kRows) {
            gather(group, batch, data, row);
            forward(model, group);
            visit();
        }
    }
};

// base^exponent, by squaring: unlike std::pow the same everywhere.
double power(double base, int64_t exponent) {
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2 == 1) result *= base;
    return result;
}

// One AdamW update (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it; `step` counts from 1.
void adamw(Model& model, int64_t step, double learning_rate, double weight_decay) {
    const float keep = static_cast<float>(1 - learning_rate * weight_decay);
    const float rate = static_cast<float>(learning_rate / (1 - power(kBeta1, step)));
    const float correction = static_cast<float>(1 / std::sqrt(1 - power(kBeta2, step)));
    const float new1 = static_cast<float>(1 - kBeta1);
    const float old2 = static_cast<float>(kBeta2), new2 = static_cast<float>(1 - kBeta2);
    for (int p = 0; p < kPackedSize; p += kLanes) {
        const Vec g = load(model.gradient + p);
        Vec m = load(model.first_moment + p), v = load(model.second_moment + p);
        m = fused(g - m, broadcast(new1), m);
        v = fused(g * g, broadcast(new2), v * old2);
        const Vec root = fused(square_root(v), correction, kEpsilon);
        store(model.first_moment + p, m);
        store(model.second_moment + p, v);
        store(model.weights + p, fused(load(model.weights + p), broadcast(keep), -(m * rate / root)));
    }
}

// Loss of one batch of a run, and its gradient in `model.gradient`.
float loss_and_gradient(Trainer& trainer, int64_t run, const int32_t* item_ids, int64_t sequences) {
    Model& model = trainer.model;
    Group& group = trainer.group;
    const float share = 1.0f / (static_cast<float>(sequences) * static_cast<float>(group.steps));
    double loss = 0;
    model.clear_gradient();
    trainer.batch.read(run, item_ids, sequences);
    trainer.for_groups([&] {
        head(model, group, share, loss);
        backward(model, group);
    });
    model.finish_gradient();
    return canonical(static_cast<float>(loss / (static_cast<double>(sequences) * group.steps)));
}

// Calls visit(sequence, step, its loss there, a function that says whether its answer is right) at all steps of at most
// kScored sequences, each sequence's in order.
template <class Visit>
void for_losses(Trainer& trainer, int64_t run, const int32_t* item_ids, int64_t sequences, Visit visit) {
    Group& group = trainer.group;
    trainer.batch.read(run, item_ids, sequences);
    trainer.for_groups([&] {
        for (int t = 0; t < group.steps; t++) {
            const Logits logits(trainer.model, group.top(t), group.present[t]);
            for (int row = 0; row < group.rows; row++) {
                const int standing = group.standing_for(row, t);
                trainer.batch.for_members(group.row_of_batch[row], [&](int sequence, const uint8_t* bytes, int label) {
                    const int target = target_at(trainer.data, bytes, label, t);
                    visit(sequence, t, logits.loss(standing, target),
                          [&] { return logits.finite(standing) && logits.argmax(standing) == target; });
                });
            }
        }
    });
}

// Losses and correctness of at most kScored sequences.
void score(Trainer& trainer, int64_t run, const int32_t* item_ids, int64_t sequences, float* losses, uint8_t* correct) {
    const int steps = trainer.group.steps;
    const bool every = trainer.data.every_answer;
    double sums[kScored] = {};
    for_losses(trainer, run, item_ids, sequences, [&](int sequence, int t, double loss, auto is_right) {
        sums[sequence] += loss;
        if (every || t == steps - 1) correct[sequence] = (!every || t == 0 || correct[sequence]) && is_right();
    });
    for (int64_t s = 0; s < sequences; s++) losses[s] = canonical(static_cast<float>(sums[s] / steps));
}

// Calls work(space, model) for every model, from `threads` threads that take the next model when free; make(arena)
// gives each thread its space. Returns false where memory is short.
template <class Make, class Work>
bool for_each_model(int64_t models, int threads, size_t floats, Make make, Work work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> complete{true};
    on_threads(std::min<int64_t>(threads, models), [&] {
        // Rounding and subnormals are IEEE's, whatever the caller has set for its own thread.
        std::fenv_t found;
        std::fegetenv(&found);
        std::fesetenv(FE_DFL_ENV);
        try {
            Arena arena(floats);
            const auto space = make(arena);
            for (int64_t model = next++; model < models; model = next++) work(*space, model);
        } catch (const std::bad_alloc&) {
            complete = false;
        }
        std::fesetenv(&found);
    });
    return complete;
}

template <class Work>
bool with_trainers(const Data& data, int64_t models, int threads, Work work) {
    const auto make = [&](Arena& arena) { return std::make_unique<Trainer>(arena, data); };
    return for_each_model(models, threads, Trainer::size(data.steps), make, work);
}

}  // namespace

// ------------------------------------------------------------------------------------------- entry points
// Shapes and meanings are those of the `Kernel` protocol. Each returns 0, or 1 where memory is short.

extern "C" {

int rnnzoo_parameters() { return flat_size(); }

int rnnzoo_train(const Data* data, float* weights, float* first_moments, float* second_moments,
                 const int32_t* item_ids, const float* learning_rates, const float* weight_decays, float* losses,
                 int64_t models, int64_t train_steps, int64_t sequences, int64_t steps_before, int threads) {
    const auto train_model = [&](Trainer& trainer, int64_t n) {
        Model& model = trainer.model;
        const int64_t flat = n * flat_size();
        pack(weights + flat, model.weights);
        pack(first_moments + flat, model.first_moment);
        pack(second_moments + flat, model.second_moment);
        for (int64_t s = n * train_steps; s < (n + 1) * train_steps; s++) {
            derive(model);
            losses[s] = loss_and_gradient(trainer, n, item_ids + s * sequences, sequences);
            adamw(model, steps_before + s - n * train_steps + 1, learning_rates[s], weight_decays[n]);
        }
        unpack(model.weights, weights + flat);
        unpack(model.first_moment, first_moments + flat);
        unpack(model.second_moment, second_moments + flat);
    };
    return with_trainers(*data, models, threads, train_model) ? 0 : 1;
}

int rnnzoo_score(const Data* data, const float* weights, const int32_t* item_ids, float* losses, uint8_t* correct,
                 int64_t models, int64_t sequences, int threads) {
    const auto score_model = [&](Trainer& trainer, int64_t n) {
        pack(weights + n * flat_size(), trainer.model.weights);
        derive(trainer.model);
        for (int64_t first = 0; first < sequences; first += kScored) {
            const int64_t at = n * sequences + first;
            score(trainer, n, item_ids + at, std::min(kScored, sequences - first), losses + at, correct + at);
        }
    };
    return with_trainers(*data, models, threads, score_model) ? 0 : 1;
}

int rnnzoo_step_losses(const Data* data, const float* weights, const int32_t* item_ids, double* losses, int64_t models,
                       int64_t sequences, int threads) {
    const auto score_model = [&](Trainer& trainer, int64_t n) {
        pack(weights + n * flat_size(), trainer.model.weights);
        derive(trainer.model);
        for (int64_t first = 0; first < sequences; first += kScored) {
            const int64_t at = n * sequences + first;
            const auto keep = [&](int sequence, int t, double loss, auto) {
                losses[(at + sequence) * data->steps + t] = loss;
            };
            for_losses(trainer, n, item_ids + at, std::min(kScored, sequences - first), keep);
        }
    };
    return with_trainers(*data, models, threads, score_model) ? 0 : 1;
}

int rnnzoo_sample(const float* weights, int begin, const float* uniforms, uint8_t* strings, int64_t models,
                  int64_t sequences, int64_t steps, int threads) {
    if constexpr (kTokens) {
        const auto make = [](Arena& arena) { return std::make_unique<Sampler>(arena); };
        const auto sample_model = [&](Sampler& sampler, int64_t n) {
            pack(weights + n * flat_size(), sampler.model.weights);
            derive(sampler.model);
            for (int64_t first = 0; first < sequences; first += kStrings) {
                const int64_t at = n * sequences + first, count = std::min<int64_t>(kStrings, sequences - first);
                sampler.write(begin, uniforms + at * steps, strings + at * (steps + 1), static_cast<int>(count), steps);
            }
        };
        return for_each_model(models, threads, Sampler::size(), make, sample_model) ? 0 : 1;
    }
    return 1;
}

}  // extern "C"
