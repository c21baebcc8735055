// Trains, scores and samples N small LSTMs, one model a thread at a time: the C functions behind `FusedCpuKernel`.
//
// A model's weights, AdamW's moments and everything a group of sequences remembers for the way back live in one
// workspace of a thread, which fits the L2 cache; a model takes all its steps there before the next one starts.
// Sums run in an order that depends on the shapes alone, so results do not depend on neighbours or threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#include "lstm.h"
#include "threads.h"

// Mirrors `_Data` in fused_cpu.py; zoo_builder/tasks/base.py says what the fields mean.
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

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
constexpr float kEpsilon = 1e-8f;

// ---------------------------------------------------------------------------------------------- workspace

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

constexpr size_t kBackSize = kGates * kUnits;
constexpr size_t kStartSize = (kTokens ? kInputs : 1) * kGates;
constexpr size_t kModelSize =
    4 * kPackedSize + kLayers * (2 * kBackSize + kGates) + kStartSize + kHidden * kLogits;

// A model's packed parameters, and what is derived from them after each update.
struct Model {
    float *weights, *first_moment, *second_moment, *gradient;
    float *start[kLayers], *input_back[kLayers], *recurrent_back[kLayers], *head_forward;

    explicit Model(Arena& arena)
        : weights(arena.take(kPackedSize)),
          first_moment(arena.take(kPackedSize)),
          second_moment(arena.take(kPackedSize)),
          gradient(arena.take(kPackedSize)) {
        for (int layer = 0; layer < kLayers; layer++) {
            start[layer] = arena.take(layer == 0 ? kStartSize : kGates);
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
        return {gradient + input_offset(layer), gradient + recurrent_offset(layer),
                gradient + bias_ih_offset(layer)};
    }
};

void transpose(const float* from, float* to, int rows, int columns, int to_row) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) to[c * to_row + r] = from[r * columns + c];
}

// 0 if every weight is finite, else NaN.
float poison(const Model& model) {
    Vec sums = {};
    for (int p = 0; p < kPackedSize; p += kLanes) sums += load(model.weights + p) * 0.0f;
    return sum_of(sums);
}

void derive(Model& model) {
    // Gates saturate, and no product is taken with the zeros of one-hot inputs and first states, so a weight that
    // is not finite could go unseen. Let it reach everything instead: such a model's loss is NaN.
    const float zero = poison(model);
    for (int layer = 0; layer < kLayers; layer++) {
        const float* bias_ih = model.weights + bias_ih_offset(layer);
        const float* bias_hh = model.weights + bias_hh_offset(layer);
        const float* input = model.weights + input_offset(layer);
        const int tokens = kTokens && layer == 0 ? kInputs : 1;
        for (int token = 0; token < tokens; token++)
            for (int gate = 0; gate < kGates; gate++) {
                const float column = kTokens && layer == 0 ? input[token * kGates + gate] + zero : zero;
                model.start[layer][token * kGates + gate] = bias_ih[gate] + bias_hh[gate] + column;
            }
        transpose(model.weights + recurrent_offset(layer), model.recurrent_back[layer], kHidden, kGates, kUnits);
        if (layer > 0) transpose(input, model.input_back[layer], kHidden, kGates, kUnits);
    }
    for (int o = 0; o < kOutputs; o++)
        for (int unit = 0; unit < kHidden; unit++)
            model.head_forward[unit * kLogits + o] = model.weights[kHeadOffset + o * kUnits + unit];
}

// A group of kRows sequences and all it remembers. Where there are fewer, the last one fills the other rows:
// a copy is finite if its original is, and weighs nothing.
struct Group {
    int steps;
    LayerTrace trace[kLayers];
    float* inputs;           // [T, kRows, kInputs], without tokens
    float* from_above;       // [T, kRows, kUnits]
    float* logit_gradients;  // [T, kRows, kOutputs]
    float *dh, *dc;          // [kRows, kUnits]
    std::vector<uint8_t> tokens;  // [T + 1, kRows]: the input of step t, and the target of step t - 1
    std::vector<uint8_t> viewed;  // [F']: a run's view of one item
    uint8_t labels[kRows];

    static size_t size(size_t steps) {
        const size_t layer = steps * kGatesSize + 2 * (steps + 1) * kStateSize;
        const size_t inputs = kTokens ? 0 : steps * kRows * kInputs;
        return kLayers * layer + inputs + steps * (kStateSize + kRows * kOutputs) + 2 * kStateSize;
    }

    Group(Arena& arena, int steps)
        : steps(steps), tokens((steps + 1) * kRows), viewed(kTokens ? steps + 1 : steps * kInputs) {
        for (LayerTrace& layer : trace) {
            layer.gates = arena.take(steps * kGatesSize);
            layer.cells = arena.take((steps + 1) * kStateSize);
            layer.hidden = arena.take((steps + 1) * kStateSize);
        }
        inputs = arena.take(kTokens ? 0 : steps * kRows * kInputs);
        from_above = arena.take(steps * kStateSize);
        logit_gradients = arena.take(steps * kRows * kOutputs);
        dh = arena.take(kStateSize);
        dc = arena.take(kStateSize);
    }

    // h of the last layer after step t, [kRows, kUnits].
    const float* top(int t) const { return trace[kLayers - 1].hidden + (t + 1) * kStateSize; }
    const uint8_t* targets(int t) const { return kTokens ? tokens.data() + (t + 1) * kRows : labels; }
};

struct Workspace {
    Arena arena;
    Model model;
    Group group;

    explicit Workspace(int steps)
        : arena(kModelSize + Group::size(steps)), model(arena), group(arena, steps) {}
};

// --------------------------------------------------------------------------------------------------- data

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

// ----------------------------------------------------------------------------------------- layers and head

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
                                                  input_row, group.from_above, group.dh, group.dc,
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
                                         group.top(0), group.steps * kRows);
}

// ----------------------------------------------------------------------------------------------- training

// One AdamW update (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it; `step` counts from 1.
void adamw(Model& model, int64_t step, double learning_rate, double weight_decay) {
    for (int layer = 0; layer < kLayers; layer++)
        std::memcpy(model.gradient + bias_hh_offset(layer), model.gradient + bias_ih_offset(layer),
                    kGates * sizeof(float));  // only the sum of both biases matters, so they share a gradient

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
    std::memset(model.gradient, 0, kPackedSize * sizeof(float));
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
