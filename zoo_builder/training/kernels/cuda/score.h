// Scores of models on sequences, forwards alone: the losses and answers of rows that stand side by side, step by step. A row
// is one sequence: what others begin alike is not shared, which changes no number.

#pragma once

#include "model.h"
#include "products.h"
#include "tree.h"

// Mirrors `CompiledScoring` in kernel.py.
struct Scoring {
    Data data;
    const float* weights;     // [N, P], flat
    const int32_t* item_ids;  // [N, M]
    float* losses;            // [N, M]
    uint8_t* correct;         // [N, M]
    char* workspace;          // [blocks, scoring_bytes], where it isn't in shared memory
    int64_t models, sequences, blocks;
};

constexpr int kScoredRows = 64;         // side by side
constexpr int64_t kScoredPiece = 1024;  // sequences for which a block reads a model, at most
constexpr int kStateRow = kUnits + 4;   // so that threads which read a row each read from different banks
static_assert(kScoredRows % 4 == 0, "arrays of rows are whole 16 bytes");

struct Scorer {
    const Block& block;
    Model model;
    int* bad;                                    // [1]
    float *before[kLayers], *after[kLayers];     // h, [rows, kStateRow]
    float* memory[kLayers];                      // [rows, kStateRow]
    float* inputs;                               // [rows, kInputs], without tokens
    float* logits;                               // [rows, kOutputs]
    double* losses;                              // [rows]

    Scorer(const Block& block, Arena& arena) : block(block), model(arena, false), bad(arena.take<int>(1)) {
        for (int layer = 0; layer < kLayers; layer++) {
            before[layer] = arena.take<float>(kScoredRows * kStateRow);
            after[layer] = arena.take<float>(kScoredRows * kStateRow);
            memory[layer] = arena.take<float>(Cell::kHasMemory ? kScoredRows * kStateRow : 0);
        }
        inputs = arena.take<float>(kTokens ? 0 : kScoredRows * kInputs);
        logits = arena.take<float>(kScoredRows * kOutputs);
        losses = arena.take<double>(kScoredRows);
    }
};

// Bytes of a Scorer.
constexpr int64_t scoring_bytes() {
    constexpr int64_t states = kLayers * (Cell::kHasMemory ? 3 : 2) * kStateRow;
    constexpr int64_t of_row = states + (kTokens ? 0 : kInputs) + kOutputs;
    return model_bytes(false) + 16 + kScoredRows * (of_row * sizeof(float) + sizeof(double));
}

template <int Layer>
INLINE void score_layer(const Scorer& scorer, const Seen& seen, int rows, int t) {
    each_tile<kRowsOfAll>(scorer.block, rows, [&](int first, auto count, int unit) {
        constexpr int tile = decltype(count)::value;
        const auto row = [&](int r) { return tile_row(first, r, rows); };
        const float* from = Layer == 0 ? scorer.inputs : scorer.after[Layer == 0 ? 0 : Layer - 1];
        constexpr bool of_tokens = kTokens && Layer == 0;
        constexpr int width = Layer == 0 ? kInputs : kStateRow;
        Vec sums[tile][Cell::kSums];
        State states[tile];
        for (int r = 0; r < tile; r++) {
            start_sums<Layer>(scorer.model, sums[r], of_tokens ? seen.byte(row(r), t) : 0, unit);
            const int place = row(r) * kStateRow + unit;
            states[r] = {t == 0 ? 0.0f : scorer.before[Layer][place],
                         t > 0 && Cell::kHasMemory ? scorer.memory[Layer][place] : 0.0f};
        }
        if constexpr (!of_tokens)
            add_input_share<Layer>(sums, [&](int r) { return from + row(r) * width; }, scorer.model.weights, unit);
        if (t > 0)
            add_state_share<Layer>(sums, [&](int r) { return scorer.before[Layer] + row(r) * kStateRow; },
                                   scorer.model.weights, unit);
        Cell::step(sums, states);
        for (int r = 0; r < tile; r++) {
            const int place = row(r) * kStateRow + unit;
            scorer.after[Layer][place] = states[r].hidden;
            if constexpr (Cell::kHasMemory) scorer.memory[Layer][place] = states[r].memory;
        }
    });
}

INLINE void read_inputs(const Scorer& scorer, Phase& phase, const Seen& seen, int rows, int t) {
    if constexpr (!kTokens)
        phase.share(rows * kInputs, [&](int i) { scorer.inputs[i] = seen.input(i / kInputs, t, i % kInputs); });
}

// Adds the loss of step t to a row's, and says whether its answer is right.
INLINE bool answer(const Scorer& scorer, const Seen& seen, int row, int t) {
    const float* logits = scorer.logits + row * kOutputs;
    const int target = seen.target(row, t);
    bool finite = true;
    int best = 0;
    for (int o = 0; o < kOutputs; o++) {
        finite = finite && logits[o] * 0.0f == 0.0f;
        if (logits[o] > logits[best]) best = o;
    }
    const Softmax softmax(logits);
    const double loss = softmax.loss(log_of(softmax.total), logits[target]);
    scorer.losses[row] = t == 0 ? loss : scorer.losses[row] + loss;
    return finite && best == target;
}

INLINE void score_rows(Scorer& scorer, const Seen& seen, int rows, float* losses, uint8_t* correct) {
    const Block& block = scorer.block;
    const int steps = static_cast<int>(seen.data.steps);
    Phase first{block};
    read_inputs(scorer, first, seen, rows, 0);
    block.wait();
    for (int t = 0; t < steps; t++) {
        for_layers([&](auto layer) { score_layer<decltype(layer)::value>(scorer, seen, rows, t); });
        for (int layer = 0; layer < kLayers; layer++) {
            float* state = scorer.before[layer];
            scorer.before[layer] = scorer.after[layer];
            scorer.after[layer] = state;
        }
        Phase phase{block};
        phase.share(rows * kOutputs, [&](int i) {
            const int row = i % rows, o = i / rows;
            float logit[1];
            add_up_logits(logit, scorer.before[kLayers - 1] + row * kStateRow, scorer.model.weights, o);
            scorer.logits[row * kOutputs + o] = logit[0];
        });
        if (t + 1 < steps) read_inputs(scorer, phase, seen, rows, t + 1);
        block.wait();
        each(block, rows, [&](int row) {
            const bool right = answer(scorer, seen, row, t);
            if (seen.data.every_answer || t == steps - 1)
                correct[row] = (!seen.data.every_answer || t == 0 || correct[row]) && right;
            if (t == steps - 1) losses[row] = canonical(static_cast<float>(scorer.losses[row] / steps));
        });
    }
}

// Scores the pieces of one block: every blocks-th of all models' pieces. memory: the block's own.
INLINE void score_pieces(const Block& block, const Scoring& scoring, int64_t number, char* memory) {
    const int64_t pieces = (scoring.sequences + kScoredPiece - 1) / kScoredPiece;
    Arena arena{memory};
    Scorer scorer(block, arena);
    for (int64_t piece = number; piece < scoring.models * pieces; piece += scoring.blocks) {
        const int64_t run = piece / pieces, begin = piece % pieces * kScoredPiece;
        read_weights(block, scorer.model, scoring.weights + run * flat_size(), scorer.bad);
        derive(block, scorer.model, scorer.bad, false);
        const int64_t left = scoring.sequences - begin;
        for (int64_t row = 0; row < (left < kScoredPiece ? left : kScoredPiece); row += kScoredRows) {
            const int64_t at = run * scoring.sequences + begin + row;
            const int rows = static_cast<int>(left - row < kScoredRows ? left - row : kScoredRows);
            score_rows(scorer, {scoring.data, run, scoring.item_ids + at}, rows, scoring.losses + at, scoring.correct + at);
        }
    }
}
