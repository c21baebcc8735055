// All training steps of one model by one block of threads, in the arithmetic of docs/arithmetic.md.
//
// Every number is computed by one thread, in the order of the page; threads only divide which ones. A thread that sums
// a weight's gradient applies it at once, so that gradients are never stored. The model is best kept in the block's
// shared memory; its moments, and what the way back needs of all nodes, are in a workspace in global memory.

#pragma once

#include "products.h"
#include "space.h"

// ------------------------------------------------------------------------------------------------------------ forward

// The sums of all nodes of a layer, as far as they do not depend on its state.
template <int Layer>
INLINE void add_up_inputs(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const Model& model = trainer.model;
    constexpr bool of_tokens = kTokens && Layer == 0;
    constexpr int width = Layer == 0 ? kInputs : kUnits;
    const float* inputs = Layer == 0 ? tree.inputs : trainer.space.trace[Layer == 0 ? 0 : Layer - 1].after;
    each_tile<kRowsOfAll>(trainer.block, tree.nodes(), [&](int first, auto count, int unit) {
        constexpr int rows = decltype(count)::value;
        const auto node = [&](int r) { return tile_row(first, r, tree.nodes()); };
        Vec sums[rows][Cell::kSums];
        for (int r = 0; r < rows; r++)
            start_sums<Layer>(model, sums[r], of_tokens ? tree.tokens[node(r)] : 0, unit);
        if constexpr (!of_tokens)
            add_input_share<Layer>(sums, [&](int r) { return inputs + node(r) * width; }, model.weights, unit);
        float* to = trainer.space.trace[Layer].sums + unit;
        for (int r = 0; r < rows; r++)
            for (int s = 0; s < Cell::kSums; s++) to[node(r) * kSumRow + s * kUnits] = sums[r][s];
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
ONCE void forward_layer(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const LayerTrace& trace = trainer.space.trace[Layer];
    add_up_inputs<Layer>(trainer);
    each(trainer.block, tree.present[0] * kUnits, [&](int i) {
        trace.before[i] = 0.0f;
        if constexpr (Cell::kHasMemory) trace.memory_before[i] = 0.0f;
    });
    for (int t = 0; t < tree.steps; t++)
        each_tile<kRowsOfStep>(trainer.block, tree.present[t], [&](int first, auto count, int unit) {
            constexpr int rows = decltype(count)::value;
            const auto row = [&](int r) { return tile_row(first, r, tree.present[t]); };
            const auto node = [&](int r) { return tree.start[t] + row(r); };
            float* kept = trace.sums + unit;
            Vec sums[rows][Cell::kSums];
            State states[rows];
            for (int r = 0; r < rows; r++) {
                const int place = node(r) * kUnits + unit;
                states[r] = {trace.before[place], Cell::kHasMemory ? trace.memory_before[place] : 0.0f};
                for (int s = 0; s < Cell::kSums; s++) sums[r][s] = kept[node(r) * kSumRow + s * kUnits];
            }
            if (t > 0)
                add_state_share<Layer>(sums, [&](int r) { return trace.before + node(r) * kUnits; },
                                       trainer.model.weights, unit);
            Cell::step(sums, states);
            for (int r = 0; r < rows; r++) {
                const int place = node(r) * kUnits + unit;
                if constexpr (Cell::kKeepsSums)
                    for (int s = 0; s < Cell::kSums; s++) kept[node(r) * kSumRow + s * kUnits] = sums[r][s];
                trace.after[place] = states[r].hidden;
                if constexpr (Cell::kHasMemory) trace.memory_after[place] = states[r].memory;
                pass_on(tree, trace, t, row(r), unit, states[r]);
            }
        });
}

// --------------------------------------------------------------------------------------------------------------- head

// Losses of all nodes, and the gradients of their logits. share: what a position of a sequence weighs in the loss.
ONCE void head(const Trainer& trainer, float share) {
    const float* weights = trainer.model.weights;
    each(trainer.block, trainer.tree.nodes(), [&](int place) {
        const int node = trainer.tree.order[place];
        const float* hidden = trainer.space.trace[kLayers - 1].after + node * kUnits;
        const int* targets = trainer.tree.targets + node * kOutputs;
        double* losses = trainer.space.losses + place * kOutputs;
        int kinds = 0;
        float logits[kOutputs], sequences = 0.0f;
        add_up_logits(logits, hidden, weights, 0);
        for (int o = 0; o < kOutputs; o++) sequences += static_cast<float>(targets[o]);
        const Softmax softmax(logits);
        const double log_total = log_of(softmax.total);
        const float scale = sequences * share / softmax.total;
        for (int o = 0; o < kOutputs; o++) {
            const float n = static_cast<float>(targets[o]);
            trainer.space.logit_gradients[node * kOutputs + o] = fused(softmax.exponentials[o], scale, -(n * share));
            if (targets[o] > 0) losses[kinds++] = n * softmax.loss(log_total, logits[o]);
        }
        trainer.space.targets[place] = kinds;
    });
    each_tile<kRowsOfStep>(trainer.block, trainer.tree.nodes(), [&](int first, auto count, int unit) {
        constexpr int rows = decltype(count)::value;
        const auto node = [&](int r) { return tile_row(first, r, trainer.tree.nodes()); };
        float sums[rows][1] = {};
        add_products<0, 1, kOutputs, false>(sums, [&](int r) { return trainer.space.logit_gradients + node(r) * kOutputs; },
                                            weights + kHeadOffset + unit, kUnits);
        for (int r = 0; r < rows; r++) trainer.space.above[node(r) * kUnits + unit] = sums[r][0];
    });
}

// ----------------------------------------------------------------------------------------------------------- backward

// Products of gates' gradients with a transposed matrix: out[row] for all rows.
template <int Most>
INLINE void multiply_back(const Block& block, int rows, const float* gradients, const float* matrix, float* out) {
    each_tile<Most>(block, rows, [&](int first, auto count, int unit) {
        constexpr int tile = decltype(count)::value;
        const auto row = [&](int r) { return tile_row(first, r, rows); };
        float sums[tile][1] = {};
        for (int gate = 0; gate < Cell::kGates; gate++)
            add_products<0, 1, kHidden, true>(sums, [&](int r) { return gradients + row(r) * kSumRow + gate * kUnits; },
                                              matrix + gate * kUnits * kUnits + unit, kUnits);
        for (int r = 0; r < tile; r++) out[row(r) * kUnits + unit] = sums[r][0];
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
ONCE void backward_layer(const Trainer& trainer) {
    const Tree& tree = trainer.tree;
    const Space& space = trainer.space;
    const LayerTrace& trace = space.trace[Layer];
    for (int t = tree.steps - 1; t >= 0; t--) {
        const int rows = tree.present[t], node = tree.start[t];
        each_tile<kRowsOfStep>(trainer.block, rows, [&](int first, auto count, int unit) {
            constexpr int tile = decltype(count)::value;
            const auto row = [&](int r) { return tile_row(first, r, rows); };
            float sums[tile][Cell::kSums] = {}, carry[tile] = {}, given[tile];
            State before[tile], after[tile];
            for (int r = 0; r < tile; r++) {
                const int place = (node + row(r)) * kUnits + unit;
                const float* kept = trace.sums + (node + row(r)) * kSumRow + unit;
                if constexpr (Cell::kKeepsSums)
                    for (int s = 0; s < Cell::kSums; s++) sums[r][s] = kept[s * kUnits];
                before[r] = {trace.before[place], Cell::kHasMemory ? trace.memory_before[place] : 0.0f};
                after[r] = {trace.after[place], Cell::kHasMemory ? trace.memory_after[place] : 0.0f};
                given[r] = space.above[place] + gathered(tree, t, row(r), unit, space.next);
                if constexpr (Cell::kCarries) carry[r] = gathered(tree, t, row(r), unit, space.carried);
            }
            for (int r = 0; r < tile; r++) {
                Cell::step_back(sums[r], before[r], after[r], given[r], carry[r]);
                float* kept = trace.sums + (node + row(r)) * kSumRow + unit;
                for (int s = 0; s < Cell::kSums; s++) kept[s * kUnits] = sums[r][s];
                if constexpr (Cell::kCarries) space.carried[row(r) * kUnits + unit] = carry[r];
            }
        });
        if (t > 0)
            multiply_back<kRowsOfStep>(trainer.block, rows, trace.sums + node * kSumRow + kFirstStateSum,
                                       trainer.model.recurrent_back[Layer], space.next);
    }
    if constexpr (Layer > 0) {
        multiply_back<kRowsOfAll>(trainer.block, tree.nodes(), trace.sums, trainer.model.input_back[Layer], space.above);
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
    template <int Gates, int Width, int ValueRow>
    void matrix(int offset, const float* values, const float* sums, int sum_row) {
        constexpr bool aligned = ValueRow % 4 == 0;
        constexpr int tile = smaller(kRowsOfAll, aligned ? (Width + 3) / 4 * 4 : Width);
        phase.share((Width + tile - 1) / tile * kUnits, [&](int i) {
            const int k = i / kUnits * tile, unit = i % kUnits;
            float sum[tile][Gates] = {};
#pragma unroll 4  // so many nodes' numbers are on their way at once
            for (int n = 0; n < nodes; n++) {
                const float* of_gates = sums + order[n] * sum_row + unit;
                const float* value = values + order[n] * ValueRow;
                float gates[Gates], read[tile];
                for (int g = 0; g < Gates; g++) gates[g] = of_gates[g * kUnits];
                read_some<tile, ValueRow, aligned>(read, value, k);
                for (int r = 0; r < tile; r++)
                    for (int g = 0; g < Gates; g++) sum[r][g] = fused(read[r], gates[g], sum[r][g]);
            }
            for (int r = 0; r < tile; r++)
                if (k + r < Width)
                    for (int g = 0; g < Gates; g++) apply(offset + ((k + r) * Gates + g) * kUnits + unit, sum[r][g]);
        });
    }

    // The plain sums of `width` columns: use(column, sum).
    template <class Use>
    void columns(int width, const float* sums, int sum_row, Use use) {
        phase.share(width, [&](int column) {
            float sum = 0.0f;
#pragma unroll 8
            for (int n = 0; n < nodes; n++) sum += sums[order[n] * sum_row + column];
            use(column, sum);
        });
    }

    // Both biases of a layer.
    void biases(int layer, const float* sums) {
        columns(kSumRow, sums, kSumRow, [&](int column, float sum) {
            if (column < kGateRow) apply(bias_ih_offset(layer) + column, sum);
            if (column >= kFirstStateSum) apply(bias_hh_offset(layer) + column - kFirstStateSum, sum);
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

ONCE void update(const Trainer& trainer, Rates rates, float& loss) {
    const Tree& tree = trainer.tree;
    const Space& space = trainer.space;
    Update update{trainer, rates, {trainer.block}};
    for_layers([&](auto constant) {
        constexpr int layer = decltype(constant)::value;
        const LayerTrace& trace = space.trace[layer];
        update.matrix<Cell::kGates, kHidden, kUnits>(recurrent_offset(layer), trace.before, trace.sums + kFirstStateSum, kSumRow);
        if constexpr (layer > 0)
            update.matrix<Cell::kGates, kHidden, kUnits>(input_offset(layer), space.trace[layer - 1].after, trace.sums, kSumRow);
        else if constexpr (kTokens)
            update.tokens(trace.sums);
        else
            update.matrix<Cell::kGates, kInputs, kInputs>(input_offset(0), tree.inputs, trace.sums, kSumRow);
        update.biases(layer, trace.sums);
    });
    update.matrix<1, kOutputs, kOutputs>(kHeadOffset, space.logit_gradients, space.trace[kLayers - 1].after, kUnits);
    update.columns(kOutputs, space.logit_gradients, kOutputs,
                   [&](int output, float sum) { update.apply(kHeadBiasOffset + output, sum); });
    update.phase.share(1, [&](int) {
        double sum = 0;
#pragma unroll 8
        for (int n = 0; n < update.nodes; n++) {
            const int kinds = space.targets[n];
            if (kinds > 0) sum += space.losses[n * kOutputs];
            for (int kind = 1; kind < kinds; kind++) sum += space.losses[n * kOutputs + kind];
        }
        loss = canonical(static_cast<float>(sum / (static_cast<double>(tree.sequences) * tree.steps)));
        *space.bad = 0;
    });
    trainer.block.wait();
}

// ---------------------------------------------------------------------------------------------------------- one model

INLINE void train_step(const Trainer& trainer, const Seen& seen, Rates rates, float& loss) {
    const Tree& tree = trainer.tree;
    derive(trainer.block, trainer.model, trainer.space.bad, true);
    grow(trainer.block, tree, seen);
    for_layers([&](auto layer) { forward_layer<decltype(layer)::value>(trainer); });
    head(trainer, 1.0f / (static_cast<float>(tree.sequences) * static_cast<float>(tree.steps)));
    backward_layer<kLayers - 1>(trainer);
    update(trainer, rates, loss);
}

// Bytes of a model's workspace.
INLINE int64_t workspace_bytes(int steps, int sequences, int64_t width) {
    Arena arena{nullptr};
    Tree(arena, steps, sequences, width);
    Space(arena, static_cast<int64_t>(steps) * sequences, sequences);
    return arena.used + model_bytes(true);
}

// shared: memory of the block for a model, or null where it is to be in the workspace.
INLINE void train_model(const Block& block, const Training& training, int64_t run, char* shared) {
    const Data& data = training.data;
    const int64_t flat_begin = run * flat_size();
    float* weights = training.weights + flat_begin;
    float* first_moments = training.first_moments + flat_begin;
    float* second_moments = training.second_moments + flat_begin;
    const Trainer trainer(block, {training.workspace + run * training.workspace_bytes}, {shared},
                          static_cast<int>(data.steps), static_cast<int>(training.sequences), data.view_bytes);
    const Space& space = trainer.space;
    read_weights(block, trainer.model, weights, space.bad);
    each(block, kPackedSize, [&](int p) { space.first_moment[p] = space.second_moment[p] = 0.0f; });
    each_parameter(block, [&](int flat, int packed) {
        space.first_moment[packed] = first_moments[flat];
        space.second_moment[packed] = second_moments[flat];
    });
    for (int64_t s = run * training.train_steps; s < (run + 1) * training.train_steps; s++) {
        const float* rates = training.rates + s * 3;
        train_step(trainer, {data, run, training.item_ids + s * training.sequences}, {rates[0], rates[1], rates[2]},
                   training.losses[s]);
    }
    each_parameter(block, [&](int flat, int packed) {
        weights[flat] = canonical(trainer.model.weights[packed]);
        first_moments[flat] = canonical(space.first_moment[packed]);
        second_moments[flat] = canonical(space.second_moment[packed]);
    });
}
