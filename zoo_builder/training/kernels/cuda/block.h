// How the threads of a block share its work: in phases, between which they wait for each other.
//
// What is included before this defines `Block` (thread, threads, wait) and `add_one`: train.cu for a GPU, emulated.cpp
// for a CPU. Within a phase no thread may read what another one writes.

#pragma once

#include "../shape.h"

template <int Size>
struct Constant {
    static constexpr int value = Size;
};

constexpr int smaller(int a, int b) { return a < b ? a : b; }

// Calls work(i) for 0, ..., count - 1, each in one thread, and waits for all.
template <class Work>
INLINE void each(const Block& block, int count, Work work) {
    for (int i = block.thread; i < count; i += block.threads) work(i);
    block.wait();
}

// Several pieces of work in one phase: the next one begins with the thread that has least to do.
struct Phase {
    const Block& block;
    int begun = 0;

    template <class Work>
    void share(int count, Work work) {
        for (int i = (block.thread + block.threads - begun) % block.threads; i < count; i += block.threads) work(i);
        begun = (begun + count) % block.threads;
    }
};

// Of how many rows a thread keeps the sums, at most: in a phase of one step, where few rows are there, and of all nodes.
constexpr int kRowsOfStep = 4, kRowsOfAll = 8;

// A phase of all units of some rows: body(first row, Constant<rows>, unit), where one thread keeps the sums of a tile of
// rows in registers: of one row where that keeps all threads busy, else of Most. The last tile may reach beyond the rows
// (see `tile_row`). A body writes arrays of such sizes out: NVRTC of CUDA 12.1 and 12.2 crashes on `Sums` of a size that
// is a constant of a generic lambda.
template <int Most, class Body>
INLINE void each_tile(const Block& block, int rows, Body body) {
    const auto share = [&](auto size) {
        constexpr int tile = decltype(size)::value;
        each(block, (rows + tile - 1) / tile * kUnits, [&](int i) { body(i / kUnits * tile, size, i % kUnits); });
    };
    if (rows * kUnits <= block.threads)
        share(Constant<1>{});
    else
        share(Constant<Most>{});
}

// Row r of a tile; beyond the rows it is the last one once more, which its thread then computes twice.
INLINE int tile_row(int first, int r, int rows) { return smaller(first + r, rows - 1); }
