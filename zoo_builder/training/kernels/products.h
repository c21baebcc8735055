// Matrix products whose sums stay in registers, of widths that are fixed when the kernel is compiled.

#pragma once

#include <type_traits>

#include "vectors.h"

template <int Size>
using Constant = std::integral_constant<int, Size>;

// The tile of a product that stays in registers: as many vectors side by side as leave room for several rows.
constexpr int tile_vectors(int vectors) { return vectors < kAccumulators / 6 ? vectors : kAccumulators / 6; }
constexpr int tile_rows(int vectors) { return kAccumulators / vectors < 6 ? kAccumulators / vectors : 6; }

// Calls body(start, Constant<size>) for 0, Step, 2 Step, ...; the last size may be smaller.
template <int Total, int Step, class Body>
INLINE void for_tiles(Body body) {
    for (int start = 0; start + Step <= Total; start += Step) body(start, Constant<Step>{});
    if constexpr (Total % Step != 0) body(Total - Total % Step, Constant<Total % Step>{});
}

template <int Most, class Body>
INLINE void with_constant(int size, Body body) {
    if (size == Most) return body(Constant<Most>{});
    if constexpr (Most > 1) with_constant<Most - 1>(size, body);
}

// Calls body(first row, Constant<rows>) for tiles of at most `Most` rows, of which none is much smaller than another.
template <int Most, class Body>
INLINE void for_even_tiles(int rows, Body body) {
    int row = 0;
    for (int tiles = (rows + Most - 1) / Most; tiles > 0; tiles--) {
        const int size = (rows - row + tiles - 1) / tiles;
        with_constant<Most>(size, [&](auto constant) { body(row, constant); });
        row += size;
    }
}

// sum[r][v] += sum_k a[r, k] b[k, v], with a's strides (row, k) and b's stride k in floats.
template <int Rows, int Vectors>
INLINE void multiply_add(Sums<Rows, Vectors>& sum, const float* a, int a_row, int a_depth, const float* b,
                         int b_depth, int depth) {
#pragma GCC unroll 2
    for (int k = 0; k < depth; k++) {
        Vec columns[Vectors];
        for (int v = 0; v < Vectors; v++) columns[v] = load(b + k * b_depth + v * kLanes);
        for (int r = 0; r < Rows; r++) {
            const Vec factor = broadcast(a[r * a_row + k * a_depth]);
            for (int v = 0; v < Vectors; v++) sum[r][v] = fused(factor, columns[v], sum[r][v]);
        }
    }
}

// Calls body(sum, row, constant rows, column, constant vectors) for tiles of [rows, Width], from vector to vector; the
// sums are the body's to start, to fill and to store.
template <int Width, class Body>
INLINE void for_sums(int rows, Body body) {
    for_tiles<Width / kLanes, tile_vectors(Width / kLanes)>([&](int vector, auto vectors) {
        for_even_tiles<tile_rows(vectors)>(rows, [&](int row, auto tile) {
            Sums<tile, vectors> sum;
            body(sum, row, tile, vector * kLanes, vectors);
        });
    });
}

template <int Rows, int Vectors>
INLINE void load_sums(Sums<Rows, Vectors>& sum, const float* from, int row_size) {
    for (int r = 0; r < Rows; r++)
        for (int v = 0; v < Vectors; v++) sum[r][v] = load(from + r * row_size + v * kLanes);
}

template <int Rows, int Vectors>
INLINE void store_sums(const Sums<Rows, Vectors>& sum, float* to, int row_size) {
    for (int r = 0; r < Rows; r++)
        for (int v = 0; v < Vectors; v++) store(to + r * row_size + v * kLanes, sum[r][v]);
}

// out[rows, Width] = start + a[rows, depth] b[depth, Width]; start [Width] is added to every row, or none; b and out
// have rows of Width.
template <int Width>
ONCE void product(float* out, const float* start, const float* a, int a_row, const float* b, int depth, int rows) {
    for_sums<Width>(rows, [&](auto& sum, int row, auto tile, int column, auto vectors) {
        if (start)
            load_sums<tile, vectors>(sum, start + column, 0);
        else
            for (int r = 0; r < tile; r++)
                for (int v = 0; v < vectors; v++) sum[r][v] = Vec{};
        multiply_add<tile, vectors>(sum, a + row * a_row, a_row, 1, b + column, Width, depth);
        store_sums<tile, vectors>(sum, out + row * Width + column, Width);
    });
}

// The three sums below run over nodes: rows of a and b, from the last of `nodes` to the first.

// out[Inputs, Width] += a[nodes, Inputs]^T b[nodes, Width], the gradient of a weight matrix.
template <int Inputs, int Width>
ONCE void add_outer_products(float* out, const float* a, int a_node, const float* b, int b_node, int nodes) {
    a += (nodes - 1) * a_node;
    b += (nodes - 1) * b_node;
    for_sums<Width>(Inputs, [&](auto& sum, int row, auto tile, int column, auto vectors) {
        float* place = out + row * Width + column;
        load_sums<tile, vectors>(sum, place, Width);
        multiply_add<tile, vectors>(sum, a + row, 1, -a_node, b + column, -b_node, nodes);
        store_sums<tile, vectors>(sum, place, Width);
    });
}

// out[Width] += the sum of b[nodes, Width].
template <int Width>
ONCE void add_rows(float* out, const float* b, int nodes) {
    for_tiles<Width / kLanes, 8>([&](int vector, auto vectors) {
        Sums<1, vectors> sum;
        load_sums<1, vectors>(sum, out + vector * kLanes, 0);
        for (int node = nodes - 1; node >= 0; node--)
            for (int v = 0; v < vectors; v++) sum[0][v] += load(b + node * Width + (vector + v) * kLanes);
        store_sums<1, vectors>(sum, out + vector * kLanes, 0);
    });
}

// out[token of node, Width] += the row of the node: an outer product with one-hot vectors.
template <int Width>
ONCE void add_to_token_rows(float* out, const uint8_t* tokens, const float* b, int b_node, int nodes) {
    for (int node = nodes - 1; node >= 0; node--) {
        float* to = out + tokens[node] * Width;
        for (int v = 0; v < Width; v += kLanes) store(to + v, load(to + v) + load(b + node * b_node + v));
    }
}
