// A group of rows in the memory of a thread: which nodes they have, and what the layers remember of them.
//
// Arrays of nodes hold those of step 0, then those of step 1, and so on; `start[t]` is the first node of step t.

#pragma once

#include "batch.h"
#include "model.h"

namespace {

// What one layer remembers of a group's nodes for the way back. An entry of `memory` and `hidden` is the state *before*
// the step of a node. So the states after step t begin at start[t + 1], and the rows that split off there follow them.
struct LayerTrace {
    float* sums;  // [nodes, kSumRow]: what the cell left in its sums; then the sums' gradients
    States states;

    States at(int64_t node) const {
        return {states.hidden + node * kUnits, Cell::kHasMemory ? states.memory + node * kUnits : nullptr};
    }
};

void copy_state(const LayerTrace& layer, int64_t from, int64_t to) {
    const States source = layer.at(from), target = layer.at(to);
    std::memcpy(target.hidden, source.hidden, kUnits * sizeof(float));
    if constexpr (Cell::kHasMemory) std::memcpy(target.memory, source.memory, kUnits * sizeof(float));
}

struct Group {
    int steps;
    int rows;                  // of the last step
    int first[kRows];          // step at which a row splits off, rising
    int parent[kRows];         // the row that stands for it before
    int row_of_batch[kRows];   // its number in the batch
    std::vector<int> present;  // [T]: rows at a step
    std::vector<int> start;    // [T + 1]
    LayerTrace trace[kLayers];
    float* inputs;             // [nodes, kInputs], without tokens
    float* from_above;         // [nodes, kUnits]
    float* target_counts;      // [T, kOutputs, kRows]: how many sequences of a node have this target
    float *from_next, *carried;  // scratch of the way back, [kRows, kUnits]
    std::vector<uint8_t> tokens;  // [nodes]

    static size_t size(size_t steps) {
        const size_t nodes = (steps + 1) * kRows;
        const size_t layer = nodes * (kSumRow + (Cell::kHasMemory ? 2 : 1) * kUnits);
        return kLayers * layer + padded_row(kTokens ? 0 : nodes * kInputs) + nodes * (kUnits + kOutputs) +
               2 * kRows * kUnits;
    }

    Group(Arena& arena, int steps) : steps(steps), present(steps), start(steps + 1), tokens(steps * kRows) {
        const size_t nodes = (steps + 1) * kRows;
        for (LayerTrace& layer : trace) {
            layer.sums = arena.take(nodes * kSumRow);
            layer.states = {arena.take(nodes * kUnits), arena.take(Cell::kHasMemory ? nodes * kUnits : 0)};
        }
        inputs = arena.take(padded_row(kTokens ? 0 : nodes * kInputs));
        from_above = arena.take(nodes * kUnits);
        target_counts = arena.take(nodes * kOutputs);
        from_next = arena.take(kRows * kUnits);
        carried = arena.take(kRows * kUnits);
    }

    static size_t padded_row(size_t floats) { return (floats + kLanes - 1) / kLanes * kLanes; }

    // The row that stands for `row` at step t.
    int standing_for(int row, int t) const {
        while (first[row] > t) row = parent[row];
        return row;
    }
    // h of the last layer after step t, [rows, kUnits].
    const float* top(int t) const { return trace[kLayers - 1].at(start[t + 1]).hidden; }
};

// The tree of rows first_row, first_row + 1, ... of a batch.
void split_rows(Group& group, const Batch& batch, int first_row) {
    const int rows = std::min(kRows, batch.rows() - first_row);
    int first[kRows], parent[kRows], order[kRows], place[kRows];
    for (int row = 0; row < rows; row++) {
        first[row] = row == 0 ? 0 : batch.shared(first_row + row);
        parent[row] = row - 1;
        while (parent[row] >= 0 && first[parent[row]] >= first[row]) parent[row]--;
        order[row] = row;
    }
    std::stable_sort(order, order + rows, [&](int a, int b) { return first[a] < first[b]; });
    for (int row = 0; row < rows; row++) place[order[row]] = row;
    group.rows = rows;
    for (int row = 0; row < rows; row++) {
        group.first[row] = first[order[row]];
        group.parent[row] = parent[order[row]] < 0 ? 0 : place[parent[order[row]]];
        group.row_of_batch[row] = first_row + order[row];
    }
    int present = 0, nodes = 0;
    for (int t = 0; t < group.steps; t++) {
        while (present < rows && group.first[present] <= t) present++;
        group.present[t] = present;
        group.start[t] = nodes;
        nodes += present;
    }
    group.start[group.steps] = nodes;
}

// Fills a group with up to kRows rows of a batch, from first_row on.
void gather(Group& group, const Batch& batch, const Data& data, int first_row) {
    split_rows(group, batch, first_row);
    std::memset(group.target_counts, 0, group.steps * kOutputs * kRows * sizeof(float));
    for (int row = 0; row < group.rows; row++) {
        const uint8_t* bytes = batch.bytes(group.row_of_batch[row]);
        for (int t = group.first[row]; t < group.steps; t++) {
            const int node = group.start[t] + row;
            if constexpr (kTokens) {
                group.tokens[node] = bytes[t];
            } else {
                float* input = group.inputs + static_cast<size_t>(node) * kInputs;
                for (int d = 0; d < kInputs; d++)
                    input[d] = t == 0 ? 0.0f : bytes[(t - 1) * kInputs + d] * data.scale + data.shift;
            }
        }
        batch.for_members(group.row_of_batch[row], [&](int, const uint8_t* read, int label) {
            for (int t = group.steps - 1, standing = row; t >= 0; t--) {
                standing = group.standing_for(standing, t);
                const int target = target_at(data, read, label, t);
                group.target_counts[(t * kOutputs + target) * kRows + standing] += 1;
            }
        });
    }
}

// What layer `layer` reads at the nodes from `node` on; those of step t.
template <int Layer>
INLINE auto inputs_of(const Group& group, int t) {
    if constexpr (Layer > 0)
        return HiddenInputs{group.trace[Layer - 1].at(group.start[t + 1]).hidden};
    else if constexpr (kTokens)
        return TokenInputs{group.tokens.data() + group.start[t]};
    else
        return ItemInputs{group.inputs + static_cast<size_t>(group.start[t]) * kInputs};
}

template <int Layer>
void forward_layer(const Model& model, Group& group) {
    const LayerWeights weights = model.layer(Layer);
    const LayerTrace& trace = group.trace[Layer];
    const States zero = trace.at(0);
    std::memset(zero.hidden, 0, group.present[0] * kUnits * sizeof(float));
    if constexpr (Cell::kHasMemory) std::memset(zero.memory, 0, group.present[0] * kUnits * sizeof(float));
    for (int t = 0; t < group.steps; t++) {
        const int node = group.start[t], next = group.start[t + 1];
        forward_step(weights, group.present[t], t == 0, inputs_of<Layer>(group, t), trace.at(node),
                     trace.sums + static_cast<size_t>(node) * kSumRow, trace.at(next));
        if (t + 1 == group.steps) break;
        for (int row = group.present[t]; row < group.present[t + 1]; row++)
            copy_state(trace, next + group.parent[row], next + row);
    }
}

// Calls layer(Constant<l>) for all layers, from the first or from the last on.
template <int Layer = 0, class Body>
INLINE void for_layers(Body body) {
    body(Constant<Layer>{});
    if constexpr (Layer + 1 < kLayers) for_layers<Layer + 1>(body);
}
template <int Layer = kLayers - 1, class Body>
INLINE void for_layers_back(Body body) {
    body(Constant<Layer>{});
    if constexpr (Layer > 0) for_layers_back<Layer - 1>(body);
}

void forward(const Model& model, Group& group) {
    for_layers([&](auto layer) { forward_layer<layer>(model, group); });
}

// What rows that are not there before step t give to the step before goes to their parents.
void fold(const Group& group, int t, float* gradients) {
    for (int row = group.present[t - 1]; row < group.present[t]; row++)
        for (int unit = 0; unit < kUnits; unit += kLanes) {
            float* parent = gradients + group.parent[row] * kUnits + unit;
            store(parent, load(parent) + load(gradients + row * kUnits + unit));
        }
}

// Nodes whose sums' gradients are gathered before they are multiplied into the weights' gradients: as many as stay in
// the L1 cache. No result depends on it.
constexpr int kGatheredNodes = 128 / Cell::kSums;

// The way back through one layer, from the last step to the first. `from_above` holds the gradients of the layer's h
// from the layer above (or the head); each is replaced by the gradient of the layer's input, for the layer below.
template <int Layer>
void backward_layer(Model& model, Group& group) {
    const LayerWeights weights = model.layer(Layer);
    const LayerGradients gradients = model.layer_gradients(Layer);
    const LayerTrace& trace = group.trace[Layer];
    std::memset(group.from_next, 0, kRows * kUnits * sizeof(float));
    std::memset(group.carried, 0, kRows * kUnits * sizeof(float));
    int gathered = 0;
    for (int t = group.steps - 1; t >= 0; t--) {
        const int rows = group.present[t], node = group.start[t];
        float* above = group.from_above + static_cast<size_t>(node) * kUnits;
        float* sums = trace.sums + static_cast<size_t>(node) * kSumRow;
        sum_gradients(rows, trace.at(node), trace.at(group.start[t + 1]), above, group.from_next, group.carried, sums);
        if (t > 0)
            product<kUnits>(group.from_next, nullptr, sums + kFirstStateSum, kSumRow, weights.recurrent_back, kGateRow,
                            rows);
        if constexpr (Layer > 0) product<kUnits>(above, nullptr, sums, kSumRow, weights.input_back, kGateRow, rows);
        gathered += rows;
        // States after a step are those before the next one, as long as no row is added.
        const bool is_last = t == 0 || group.present[t - 1] < rows || gathered + rows > kGatheredNodes;
        if (is_last) {
            add_weight_gradients(gradients, inputs_of<Layer>(group, t), trace.at(node).hidden, sums, gathered);
            gathered = 0;
        }
        if (t > 0) fold(group, t, group.from_next);
        if (t > 0 && Cell::kCarries) fold(group, t, group.carried);
    }
}

void backward(Model& model, Group& group) {
    for_layers_back([&](auto layer) { backward_layer<layer>(model, group); });
}

}  // namespace
