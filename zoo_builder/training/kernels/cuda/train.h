// All training steps of one model by one block of threads, in the arithmetic of docs/arithmetic.md.
//
// Every number is computed by one thread, in the order of the page; threads only divide which ones. A thread that sums
// a weight's gradient applies it at once, so that gradients are never stored. The model is best kept in the block's
// shared memory; its moments, and what the way back needs of all nodes, are in a workspace in global memory.

#pragma once

#include "space.h"

INLINE void derive(const Trainer& trainer) {
    const Block& block = trainer.block;
    const Model& model = trainer.model;
    const float* weights = model.weights;
    each(block, kPackedSize, [&](int p) {
        if (!(weights[p] * 0.0f == 0.0f)) add_one(trainer.space.bad);
    });
    const bool finite = *trainer.space.bad == 0;
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
        const auto transpose = [&](int from, float* to) {
            phase.share(kGateRow * kUnits, [&](int i) { to[i] = weights[from + i % kUnits * kGateRow + i / kUnits]; });
        };
        transpose(recurrent_offset(layer), model.recurrent_back[layer]);
        if (layer > 0) transpose(input_offset(layer), model.input_back[layer]);
    }
    block.wait();
}

// ------------------------------------------------------------------------------------------------------------ forward

// The sums of all nodes of a layer, as far as they do not depend on its state.
template <int Layer>
INLINE void add_up_inputs(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const Model& model = trainer.model;
    constexpr bool of_tokens = kTokens && Layer == 0;
    constexpr int width = input_width(Layer);
    const float* inputs = Layer == 0 ? tree.inputs : trainer.space.trace[Layer == 0 ? 0 : Layer - 1].after;
    each_tile(trainer.block, tree.nodes(), [&](int node, auto count, int unit) {
        constexpr int rows = decltype(count)::value;
        Sums<rows, Cell::kSums> sums;
        for (int r = 0; r < rows; r++) {
            const float* start = model.start[Layer] + unit + (of_tokens ? tree.tokens[node + r] * kSumRow : 0);
            for (int s = 0; s < Cell::kSums; s++) sums[r][s] = start[s * kUnits];
        }
        if constexpr (!of_tokens)
            multiply_add_gates<kFirstInput, rows, 1>(sums, inputs + node * width, width,
                                                     model.weights + input_offset(Layer) + unit, kUnits, width);
        float* to = trainer.space.trace[Layer].sums + node * kSumRow + unit;
        for (int r = 0; r < rows; r++)
            for (int s = 0; s < Cell::kSums; s++) to[r * kSumRow + s * kUnits] = sums[r][s];
    });
}

// Makes a state after step t the one before step t + 1, of the same row and of those that split off from it there.
INLINE void pass_on(const Tree& tree, const LayerTrace& trace, int t, int row, int unit, State state) {
    if (t + 1 == tree.steps) return;
    const auto write = [&](int to) {
        const int place = (tree.start[t + 1] + to) * kUnits + unit;
        trace.before[place] = state.hidden;
        if constexpr (Cell::kHasMemory) trace.memory_before[place] = state.memory;
    };
    write(row);
    for (int child = tree.present[t]; child < tree.present[t + 1]; child++)
        if (tree.parent[child] == row) write(child);
}

template <int Layer>
INLINE void forward_layer(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const LayerTrace& trace = trainer.space.trace[Layer];
    add_up_inputs<Layer>(trainer);
    each(trainer.block, tree.present[0] * kUnits, [&](int i) {
        trace.before[i] = 0.0f;
        if constexpr (Cell::kHasMemory) trace.memory_before[i] = 0.0f;
    });
    for (int t = 0; t < tree.steps; t++)
        each_tile(trainer.block, tree.present[t], [&](int row, auto count, int unit) {
            constexpr int rows = decltype(count)::value;
            const int node = tree.start[t] + row;
            float* kept = trace.sums + node * kSumRow + unit;
            Sums<rows, Cell::kSums> sums;
            State states[rows];
            for (int r = 0; r < rows; r++) {
                const int place = (node + r) * kUnits + unit;
                states[r] = {trace.before[place], Cell::kHasMemory ? trace.memory_before[place] : 0.0f};
                for (int s = 0; s < Cell::kSums; s++) sums[r][s] = kept[r * kSumRow + s * kUnits];
            }
            if (t > 0)
                multiply_add_gates<kFirstState, rows, 1>(sums, trace.before + node * kUnits, kUnits,
                                                         trainer.model.weights + recurrent_offset(Layer) + unit, kUnits,
                                                         kHidden);
            Cell::step(sums, states);
            for (int r = 0; r < rows; r++) {
                const int place = (node + r) * kUnits + unit;
                if constexpr (Cell::kKeepsSums)
                    for (int s = 0; s < Cell::kSums; s++) kept[r * kSumRow + s * kUnits] = sums[r][s];
                trace.after[place] = states[r].hidden;
                if constexpr (Cell::kHasMemory) trace.memory_after[place] = states[r].memory;
                pass_on(tree, trace, t, row + r, unit, states[r]);
            }
        });
}

// --------------------------------------------------------------------------------------------------------------- head

// Losses of all nodes, and the gradients of their logits. share: what a position of a sequence weighs in the loss.
INLINE void head(const Trainer& trainer, float share) {
    const float* weights = trainer.model.weights;
    each(trainer.block, trainer.tree.nodes(), [&](int node) {
        const float* hidden = trainer.space.trace[kLayers - 1].after + node * kUnits;
        const int* targets = trainer.tree.targets + node * kOutputs;
        float logits[kOutputs], exponentials[kOutputs];
        for (int o = 0; o < kOutputs; o++) logits[o] = weights[kHeadBiasOffset + o];
        for (int unit = 0; unit < kUnits; unit++)
            for (int o = 0; o < kOutputs; o++)
                logits[o] = fused(hidden[unit], weights[kHeadOffset + o * kUnits + unit], logits[o]);
        float most = logits[0], total = 0.0f, sequences = 0.0f;
        for (int o = 1; o < kOutputs; o++) most = logits[o] > most ? logits[o] : most;
        for (int o = 0; o < kOutputs; o++) {
            exponentials[o] = exp_of(logits[o] - most);
            total = o == 0 ? exponentials[o] : total + exponentials[o];
            sequences += static_cast<float>(targets[o]);
        }
        const double log_total = log_of(total);
        const float scale = sequences * share / total;
        for (int o = 0; o < kOutputs; o++) {
            const float n = static_cast<float>(targets[o]);
            trainer.space.logit_gradients[node * kOutputs + o] = fused(exponentials[o], scale, -(n * share));
            trainer.space.losses[node * kOutputs + o] =
                targets[o] > 0 ? n * (log_total - static_cast<double>(logits[o] - most)) : 0.0;
        }
    });
    each_tile(trainer.block, trainer.tree.nodes(), [&](int node, auto count, int unit) {
        for (int r = node; r < node + decltype(count)::value; r++) {
            float sum = 0.0f;
            for (int o = 0; o < kOutputs; o++)
                sum = fused(trainer.space.logit_gradients[r * kOutputs + o], weights[kHeadOffset + o * kUnits + unit], sum);
            trainer.space.above[r * kUnits + unit] = sum;
        }
    });
}

// ----------------------------------------------------------------------------------------------------------- backward

// Products of gates' gradients with a transposed matrix: out[row] for the rows from `node` on.
INLINE void multiply_back(const Block& block, int rows, const float* gradients, const float* matrix, float* out) {
    each_tile(block, rows, [&](int row, auto count, int unit) {
        constexpr int tile = decltype(count)::value;
        float sums[tile] = {};
        for (int gate = 0; gate < kGateRow; gate++)
            for (int r = 0; r < tile; r++)
                sums[r] = fused(gradients[(row + r) * kSumRow + gate], matrix[gate * kUnits + unit], sums[r]);
        for (int r = 0; r < tile; r++) out[(row + r) * kUnits + unit] = sums[r];
    });
}

// What step t + 1 gives to a row at step t: its own, and then that of the rows that split off from it there.
INLINE float gathered(const Tree& tree, int t, int row, int unit, const float* given) {
    if (t + 1 == tree.steps) return 0.0f;
    float sum = given[row * kUnits + unit];
    for (int child = tree.present[t]; child < tree.present[t + 1]; child++)
        if (tree.parent[child] == row) sum += given[child * kUnits + unit];
    return sum;
}

template <int Layer>
INLINE void backward_layer(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const Space& space = trainer.space;
    const LayerTrace& trace = space.trace[Layer];
    for (int t = tree.steps - 1; t >= 0; t--) {
        const int rows = tree.present[t], node = tree.start[t];
        each(trainer.block, rows * kUnits, [&](int i) {
            const int row = i / kUnits, unit = i % kUnits, place = node * kUnits + i;
            float* kept = trace.sums + (node + row) * kSumRow + unit;
            float sums[Cell::kSums] = {}, carry = 0.0f;
            State before{trace.before[place], 0.0f}, after{trace.after[place], 0.0f};
            if constexpr (Cell::kKeepsSums)
                for (int s = 0; s < Cell::kSums; s++) sums[s] = kept[s * kUnits];
            if constexpr (Cell::kHasMemory) before.memory = trace.memory_before[place];
            if constexpr (Cell::kHasMemory) after.memory = trace.memory_after[place];
            if constexpr (Cell::kCarries) carry = gathered(tree, t, row, unit, space.carried);
            Cell::step_back(sums, before, after, space.above[place] + gathered(tree, t, row, unit, space.next), carry);
            for (int s = 0; s < Cell::kSums; s++) kept[s * kUnits] = sums[s];
            if constexpr (Cell::kCarries) space.carried[i] = carry;
        });
        if (t > 0)
            multiply_back(trainer.block, rows, trace.sums + node * kSumRow + kFirstStateSum,
                          trainer.model.recurrent_back[Layer], space.next);
    }
    if constexpr (Layer > 0) {
        multiply_back(trainer.block, tree.nodes(), trace.sums, trainer.model.input_back[Layer], space.above);
        backward_layer<Layer - 1>(trainer);
    }
}

// ------------------------------------------------------------------------------------------------------------- update

struct Rates {
    float keep, rate, correction;
};

// The last phase of a step: sums of gradients over nodes, each applied to its weight by AdamW.
struct Update {
    const Trainer& trainer;
    Rates rates;
    Phase phase;
    const int* order = trainer.tree.order;
    int nodes = trainer.tree.nodes();

    void apply(int p, float g) const {
        constexpr float new1 = static_cast<float>(1 - 0.9);
        constexpr float old2 = static_cast<float>(0.999), new2 = static_cast<float>(1 - 0.999);
        float &w = trainer.model.weights[p], &m = trainer.space.first_moment[p], &v = trainer.space.second_moment[p];
        m = fused(g - m, new1, m);
        v = fused(g * g, new2, v * old2);
        w = fused(w, rates.keep, -(m * rates.rate / fused(square_root(v), rates.correction, 1e-8f)));
    }

    // A matrix [inputs, gates, units] of which one side's gradient is at `sums`; the other side is `values`.
    template <int Gates, int Width>
    void matrix(int offset, const float* values, const float* sums, int sum_row) {
        phase.share((Width + kTile - 1) / kTile * kUnits, [&](int i) {
            const int k = i / kUnits * kTile, unit = i % kUnits;
            with_size<kTile>(smaller(kTile, Width - k), [&](auto count) {
                constexpr int tile = decltype(count)::value;
                float sum[tile][Gates] = {};
                for (int n = 0; n < nodes; n++) {
                    const float* of_gates = sums + order[n] * sum_row + unit;
                    const float* value = values + order[n] * Width + k;
                    for (int r = 0; r < tile; r++)
                        for (int g = 0; g < Gates; g++) sum[r][g] = fused(value[r], of_gates[g * kUnits], sum[r][g]);
                }
                for (int r = 0; r < tile; r++)
                    for (int g = 0; g < Gates; g++) apply(offset + ((k + r) * Gates + g) * kUnits + unit, sum[r][g]);
            });
        });
    }

    // The plain sums of `width` columns.
    void columns(int offset, int width, const float* sums, int sum_row) {
        phase.share(width, [&](int column) {
            float sum = 0.0f;
            for (int n = 0; n < nodes; n++) sum += sums[order[n] * sum_row + column];
            apply(offset + column, sum);
        });
    }

    // The columns of each token: of its nodes alone.
    void tokens(const float* sums) {
        phase.share(kInputs * kGateRow, [&](int i) {
            float sum = 0.0f;
            for (int n = 0; n < nodes; n++)
                if (trainer.tree.tokens[order[n]] == i / kGateRow) sum += sums[order[n] * kSumRow + i % kGateRow];
            apply(input_offset(0) + i, sum);
        });
    }
};

INLINE void update(const Trainer& trainer, Rates rates, float& loss) {
    const Tree& tree = trainer.tree;
    const Space& space = trainer.space;
    Update update{trainer, rates, {trainer.block}};
    update.phase.share(1, [&](int) {
        double sum = 0;
        for (int n = 0; n < update.nodes; n++)
            for (int o = 0; o < kOutputs; o++)
                if (tree.targets[tree.order[n] * kOutputs + o] > 0) sum += space.losses[tree.order[n] * kOutputs + o];
        loss = canonical(static_cast<float>(sum / (static_cast<double>(tree.sequences) * tree.steps)));
        *space.bad = 0;
    });
    for_layers([&](auto constant) {
        constexpr int layer = decltype(constant)::value;
        const LayerTrace& trace = space.trace[layer];
        update.matrix<Cell::kGates, kHidden>(recurrent_offset(layer), trace.before, trace.sums + kFirstStateSum, kSumRow);
        if constexpr (layer > 0)
            update.matrix<Cell::kGates, kHidden>(input_offset(layer), space.trace[layer - 1].after, trace.sums, kSumRow);
        else if constexpr (kTokens)
            update.tokens(trace.sums);
        else
            update.matrix<Cell::kGates, kInputs>(input_offset(0), tree.inputs, trace.sums, kSumRow);
        update.columns(bias_ih_offset(layer), kGateRow, trace.sums, kSumRow);
        update.columns(bias_hh_offset(layer), kGateRow, trace.sums + kFirstStateSum, kSumRow);
    });
    update.matrix<1, kOutputs>(kHeadOffset, space.logit_gradients, space.trace[kLayers - 1].after, kUnits);
    update.columns(kHeadBiasOffset, kOutputs, space.logit_gradients, kOutputs);
    trainer.block.wait();
}

// ---------------------------------------------------------------------------------------------------------- one model

INLINE void train_step(const Trainer& trainer, const Seen& seen, Rates rates, float& loss) {
    const Tree& tree = trainer.tree;
    derive(trainer);
    grow(trainer.block, tree, seen);
    for_layers([&](auto layer) { forward_layer<decltype(layer)::value>(trainer); });
    head(trainer, 1.0f / (static_cast<float>(tree.sequences) * static_cast<float>(tree.steps)));
    backward_layer<kLayers - 1>(trainer);
    update(trainer, rates, loss);
}

// Calls visit(flat index, packed index) for this thread's share of the parameters, and waits for all threads.
template <class Visit>
INLINE void each_parameter(const Block& block, Visit visit) {
    for_each_parameter([&](int flat, int packed) {
        if (flat % block.threads == block.thread) visit(flat, packed);
    });
    block.wait();
}

constexpr int64_t model_bytes() {
    int64_t floats = kPackedSize + 4;  // every array of a model begins at whole 16 bytes
    for (int layer = 0; layer < kLayers; layer++)
        floats += start_rows(layer) * kSumRow + 4 + (layer == 0 ? 1 : 2) * (kGateRow * kUnits + 4);
    return floats * static_cast<int64_t>(sizeof(float));
}

// Bytes of a model's workspace.
INLINE int64_t workspace_bytes(int steps, int sequences) {
    Arena arena{nullptr};
    Tree(arena, steps, sequences);
    Space(arena, static_cast<int64_t>(steps) * sequences, sequences);
    return arena.used + model_bytes();
}

// shared: memory of the block for a model, or null where it is to be in the workspace.
INLINE void train_model(const Block& block, const Training& training, int64_t run, char* shared) {
    const Data& data = training.data;
    const int64_t flat_begin = run * flat_size();
    float* weights = training.weights + flat_begin;
    float* first_moments = training.first_moments + flat_begin;
    float* second_moments = training.second_moments + flat_begin;
    const Trainer trainer(block, {training.workspace + run * training.workspace_bytes}, {shared},
                          static_cast<int>(data.steps), static_cast<int>(training.sequences));
    const Space& space = trainer.space;
    each_parameter(block, [&](int flat, int packed) {
        trainer.model.weights[packed] = weights[flat];
        space.first_moment[packed] = first_moments[flat];
        space.second_moment[packed] = second_moments[flat];
        if (flat == 0) *space.bad = 0;
    });
    const int16_t* view = data.views == nullptr ? nullptr : data.views + run * data.view_bytes;
    for (int64_t s = run * training.train_steps; s < (run + 1) * training.train_steps; s++) {
        const float* rates = training.rates + s * 3;
        train_step(trainer, {data, view, training.item_ids + s * training.sequences}, {rates[0], rates[1], rates[2]},
                   training.losses[s]);
    }
    each_parameter(block, [&](int flat, int packed) {
        weights[flat] = canonical(trainer.model.weights[packed]);
        first_moments[flat] = canonical(space.first_moment[packed]);
        second_moments[flat] = canonical(space.second_moment[packed]);
    });
}
