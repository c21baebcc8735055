// A model and what its training remembers, in memory that the caller has.

#pragma once

#include "model.h"
#include "tree.h"

// Mirrors `CompiledTraining` in kernel.py.
struct Training {
    Data data;
    float *weights, *first_moments, *second_moments;  // [N, P], flat
    const int32_t* item_ids;                          // [N, S, B]
    const float* rates;                               // [N, S, 3]: keep, rate and correction of the update
    float* losses;                                    // [N, S]
    char* workspace;                                  // [N, workspace_bytes]
    int64_t workspace_bytes, train_steps, sequences;
};

// What one layer keeps of all nodes for the way back, [nodes, ...].
struct LayerTrace {
    float* sums;  // what the cell left in its sums; then the sums' gradients
    float *before, *memory_before, *after, *memory_after;
};

struct Space {
    double* losses;                      // [nodes, kOutputs], in the order of sums: what each kind of target adds
    int* targets;                        // [nodes], in the order of sums: how many kinds there are
    int* bad;                            // [1]: weights that are not finite
    float *first_moment, *second_moment;  // packed
    float* logit_gradients;              // [nodes, kOutputs]
    float* above;                        // [nodes, kUnits]: gradients of a layer's h from the layer above or the head
    float *next, *carried;               // [B, kUnits]: what the step after gives, and what it carries
    LayerTrace trace[kLayers];

    Space(Arena& arena, int64_t nodes, int sequences) {
        losses = arena.take<double>(nodes * kOutputs);
        targets = arena.take<int>(nodes);
        bad = arena.take<int>(1);
        first_moment = arena.take<float>(kPackedSize);
        second_moment = arena.take<float>(kPackedSize);
        logit_gradients = arena.take<float>(nodes * kOutputs);
        above = arena.take<float>(nodes * kUnits);
        next = arena.take<float>(sequences * kUnits);
        carried = arena.take<float>(Cell::kCarries ? sequences * kUnits : 0);
        for (LayerTrace& layer : trace) {
            layer.sums = arena.take<float>(nodes * kSumRow);
            layer.before = arena.take<float>(nodes * kUnits);
            layer.after = arena.take<float>(nodes * kUnits);
            layer.memory_before = arena.take<float>(Cell::kHasMemory ? nodes * kUnits : 0);
            layer.memory_after = arena.take<float>(Cell::kHasMemory ? nodes * kUnits : 0);
        }
    }
};

struct Trainer {
    const Block& block;
    Tree tree;
    Space space;
    Model model;

    Trainer(const Block& block, Arena workspace, Arena shared, int steps, int sequences, int64_t width)
        : block(block),
          tree(workspace, steps, sequences, width),
          space(workspace, static_cast<int64_t>(steps) * sequences, sequences),
          model(shared.base == nullptr ? workspace : shared, true) {}
};
