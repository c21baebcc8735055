// The batch as a tree of rows: docs/arithmetic.md, "A batch".
//
// The rows of all groups stand side by side, numbered by (`first`, group, order). So those of one group stand in the
// order of the page, and at every step the rows that are there are the first `present`. Arrays of nodes hold those of
// step 0, then those of step 1, and so on: row r at step t is node start[t] + r.

#pragma once

#include "../data.h"
#include "arena.h"
#include "block.h"

struct Tree {
    int steps, sequences;
    int *rank, *sorted, *shared, *row_of;           // [B]: of a sequence; the rest of a place in their order
    int *count;                                     // [1]: rows
    int *split, *elder, *member, *number;           // [rows], in the order of sequences: `first`, parent, a sequence
    int *first, *parent, *group;                    // [rows], by number
    int *present, *start;                           // [T], [T + 1]
    int* order;                                     // [nodes]: nodes in the order in which sums take them
    int* targets;                                   // [nodes, kOutputs]: n_o
    uint8_t* bytes;                                 // [B, F]: of the sequences, as their run sees them
    uint8_t* tokens;                                // [nodes]
    float* inputs;                                  // [nodes, kInputs], without tokens

    Tree(Arena& arena, int steps, int sequences, int64_t width) : steps(steps), sequences(sequences) {
        const int64_t nodes = static_cast<int64_t>(steps) * sequences;
        for (int** array : {&rank, &sorted, &shared, &row_of, &split, &elder, &member, &number, &first, &parent, &group})
            *array = arena.take<int>(sequences);
        count = arena.take<int>(1);
        present = arena.take<int>(steps);
        start = arena.take<int>(steps + 1);
        order = arena.take<int>(nodes);
        targets = arena.take<int>(nodes * kOutputs);
        bytes = arena.take<uint8_t>(sequences * width);
        tokens = arena.take<uint8_t>(kTokens ? nodes : 0);
        inputs = arena.take<float>(kTokens ? 0 : nodes * kInputs);
    }

    int nodes() const { return start[steps]; }
};

// Sequences of a batch, as their run sees them.
struct Seen {
    const Data& data;
    const int16_t* view;  // or null
    const int32_t* item_ids;

    Seen(const Data& data, int64_t run, const int32_t* item_ids)
        : data(data), view(data.views == nullptr ? nullptr : data.views + run * data.view_bytes), item_ids(item_ids) {}

    int byte(int sequence, int64_t place) const {
        const uint8_t* bytes = data.items + item_ids[sequence] * data.item_bytes;
        if (view == nullptr) return bytes[place];
        return view[place] < 0 ? 0 : bytes[view[place]];
    }
    int target(int sequence, int t) const {
        return kTokens ? byte(sequence, data.first_target() + t) : data.labels[item_ids[sequence]];
    }
    float input(int sequence, int t, int d) const {
        if (t == 0) return 0.0f;
        return static_cast<float>(byte(sequence, (t - 1) * kInputs + d)) * data.scale + data.shift;
    }
};

// How many bytes two sequences begin alike with.
INLINE int64_t same_bytes(const Tree& tree, int64_t width, int a, int b) {
    int64_t place = 0;
    while (place < width && tree.bytes[a * width + place] == tree.bytes[b * width + place]) place++;
    return place;
}

// Whether one sequence is sorted before another. Those with the same bytes stand in the order of the batch.
INLINE bool is_before(const Tree& tree, int64_t width, int a, int b) {
    const int64_t place = same_bytes(tree, width, a, b);
    return place == width ? a < b : tree.bytes[a * width + place] < tree.bytes[b * width + place];
}

INLINE void sort_sequences(const Block& block, const Tree& tree, const Seen& seen) {
    const int sequences = tree.sequences, width = static_cast<int>(seen.data.view_bytes);
    Phase phase{block};
    phase.share(sequences * width, [&](int i) { tree.bytes[i] = static_cast<uint8_t>(seen.byte(i / width, i % width)); });
    phase.share(sequences, [&](int s) { tree.rank[s] = 0; });
    block.wait();
    each(block, sequences * sequences, [&](int pair) {
        const int a = pair / sequences, b = pair % sequences;
        if (a != b && is_before(tree, width, a, b)) add_one(tree.rank + b);
    });
    each(block, sequences, [&](int s) { tree.sorted[tree.rank[s]] = s; });
    each(block, sequences, [&](int place) {
        if (place == 0) {
            tree.shared[place] = 0;
            return;
        }
        const int64_t same = same_bytes(tree, width, tree.sorted[place - 1], tree.sorted[place]);
        const int64_t shared = kTokens ? same : 1 + same / kInputs;
        tree.shared[place] = smaller(static_cast<int>(shared), tree.steps);
    });
}

// Cuts the sorted sequences into rows, and rows into groups.
INLINE void find_rows(const Tree& tree) {
    int row = -1;
    for (int place = 0; place < tree.sequences; place++) {
        if (place == 0 || tree.shared[place] < tree.steps) {
            row++;
            const int group_begin = row - row % kRows;
            tree.split[row] = row == group_begin ? 0 : tree.shared[place];
            tree.member[row] = tree.sorted[place];
            int elder = row - 1;
            while (elder >= group_begin && tree.split[elder] >= tree.split[row]) elder--;
            tree.elder[row] = elder < group_begin ? group_begin : elder;
        }
        tree.row_of[place] = row;
    }
    *tree.count = row + 1;
}

INLINE void number_rows(const Block& block, const Tree& tree) {
    const int rows = *tree.count;
    each(block, rows, [&](int row) {
        int number = 0;
        for (int other = 0; other < rows; other++)
            number += tree.split[other] < tree.split[row] || (tree.split[other] == tree.split[row] && other < row);
        tree.number[row] = number;
        tree.first[number] = tree.split[row];
        tree.group[number] = row / kRows;
    });
    Phase phase{block};
    phase.share(rows, [&](int row) { tree.parent[tree.number[row]] = tree.number[tree.elder[row]]; });
    phase.share(tree.steps + 1, [&](int t) {
        int nodes_before = 0, present = 0;
        for (int row = 0; row < rows; row++) {
            nodes_before += tree.first[row] < t ? t - tree.first[row] : 0;
            present += tree.first[row] <= t;
        }
        tree.start[t] = nodes_before;
        if (t < tree.steps) tree.present[t] = present;
    });
    block.wait();
}

// Where sums take row `row` at step t: groups in order, in a group t falling, and then rows falling.
INLINE int place_in_sums(const Tree& tree, int rows, int row, int t) {
    int place = 0;
    for (int other = 0; other < rows; other++) {
        const int from = tree.first[other];
        if (tree.group[other] < tree.group[row])
            place += tree.steps - from;
        else if (tree.group[other] == tree.group[row])
            place += tree.steps - (from > t + 1 ? from : t + 1) + (other > row && from <= t);
    }
    return place;
}

INLINE void fill_nodes(const Block& block, const Tree& tree, const Seen& seen) {
    const int rows = *tree.count, steps = tree.steps;
    Phase phase{block};
    phase.share(tree.nodes() * kOutputs, [&](int i) { tree.targets[i] = 0; });
    phase.share(rows * steps, [&](int i) {
        const int t = i % steps, row = tree.number[i / steps], node = tree.start[t] + row;
        if (tree.first[row] > t) return;
        const int member = tree.member[i / steps];
        tree.order[place_in_sums(tree, rows, row, t)] = node;
        if constexpr (kTokens)
            tree.tokens[node] = static_cast<uint8_t>(seen.byte(member, t));
        else
            for (int d = 0; d < kInputs; d++) tree.inputs[node * kInputs + d] = seen.input(member, t, d);
    });
    block.wait();
    each(block, tree.sequences * steps, [&](int i) {
        const int place = i / steps, t = i % steps;
        int row = tree.number[tree.row_of[place]];
        while (tree.first[row] > t) row = tree.parent[row];
        add_one(tree.targets + (tree.start[t] + row) * kOutputs + seen.target(tree.sorted[place], t));
    });
}

ONCE void grow(const Block& block, const Tree& tree, const Seen& seen) {
    sort_sequences(block, tree, seen);
    each(block, 1, [&](int) { find_rows(tree); });
    number_rows(block, tree);
    fill_nodes(block, tree, seen);
}
