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

INLINE int smaller(int a, int b) { return a < b ? a : b; }

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

// Calls body(Constant<size>), for sizes from 1 to Most.
template <int Most, class Body>
INLINE void with_size(int size, Body body) {
    if (size == Most) return body(Constant<Most>{});
    if constexpr (Most > 1) with_size<Most - 1>(size, body);
}

constexpr int kTile = 4;  // rows, or inputs, of which one thread keeps the sums in registers

// A phase of all units of some rows: body(first row, Constant<rows>, unit), in tiles as small as keep all threads busy.
template <class Body>
INLINE void each_tile(const Block& block, int rows, Body body) {
    const int tile = smaller((rows * kUnits + block.threads - 1) / block.threads, kTile);
    each(block, (rows + tile - 1) / tile * kUnits, [&](int i) {
        const int row = i / kUnits * tile;
        with_size<kTile>(smaller(tile, rows - row), [&](auto count) { body(row, count, i % kUnits); });
    });
}
