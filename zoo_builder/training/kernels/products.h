// Matrix products whose sums stay in registers, of sizes that are fixed when the kernel is compiled.

#pragma once

#include <type_traits>

#include "simd.h"

constexpr int kRows = 16;  // of every product: the sequences of a group

// Calls body(start, std::integral_constant<int, size>) for 0, Step, 2 Step, ...; the last size may be smaller.
template <int Total, int Step, class Body>
INLINE void for_tiles(Body body) {
    for (int start = 0; start + Step <= Total; start += Step) body(start, std::integral_constant<int, Step>{});
    if constexpr (Total % Step != 0)
        body(Total - Total % Step, std::integral_constant<int, Total % Step>{});
}

// How many rows and vectors of a product to keep in registers: enough independent sums to hide the latency of
// the multiplier, and as square as may be, so that a loaded value is used often.
constexpr int tile_vectors(int vectors) { return vectors < 4 ? vectors : 4; }
constexpr int tile_rows(int vectors) { return kAccumulators / vectors < 8 ? kAccumulators / vectors : 8; }

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
            for (int v = 0; v < Vectors; v++) sum[r][v] += factor * columns[v];
        }
    }
}

// out[kRows, Width] = a[kRows, Depth] b[Depth, Width]; b and out have rows of Width.
template <int Width, int Depth>
INLINE void product(float* out, const float* a, int a_row, const float* b) {
    for_tiles<Width / kLanes, tile_vectors(Width / kLanes)>([&](int v, auto vectors) {
        for_tiles<kRows, tile_rows(vectors)>([&](int r, auto rows) {
            Sums<rows, vectors> sum = {};
            multiply_add(sum, a + r * a_row, a_row, 1, b + v * kLanes, Width, Depth);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) store(out + (r + i) * Width + (v + j) * kLanes, sum[i][j]);
        });
    });
}

// out[Inputs, Width] += a[depth, Inputs]^T b[depth, Width], the gradient of a weight matrix: depth runs over
// sequences and steps.
template <int Inputs, int Width>
INLINE void add_outer_products(float* out, const float* a, int a_depth, const float* b, int b_depth, int depth) {
    for_tiles<Width / kLanes, tile_vectors(Width / kLanes)>([&](int v, auto vectors) {
        for_tiles<Inputs, tile_rows(vectors)>([&](int r, auto rows) {
            float* tile = out + r * Width + v * kLanes;
            Sums<rows, vectors> sum;
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) sum[i][j] = load(tile + i * Width + j * kLanes);
            multiply_add(sum, a + r, 1, a_depth, b + v * kLanes, b_depth, depth);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < vectors; j++) store(tile + i * Width + j * kLanes, sum[i][j]);
        });
    });
}

// out[Width] += the sum of rows[depth, Width].
template <int Width>
INLINE void add_rows(float* out, const float* rows, int depth) {
    for_tiles<Width / kLanes, 8>([&](int v, auto vectors) {
        Sums<1, vectors> sums;
        auto& sum = sums[0];
        for (int j = 0; j < vectors; j++) sum[j] = load(out + (v + j) * kLanes);
        for (int k = 0; k < depth; k++)
            for (int j = 0; j < vectors; j++) sum[j] += load(rows + k * Width + (v + j) * kLanes);
        for (int j = 0; j < vectors; j++) store(out + (v + j) * kLanes, sum[j]);
    });
}

// out[token of row, Width] += the row, for rows[depth]: an outer product with one-hot vectors.
template <int Width>
INLINE void add_to_token_rows(float* out, const uint8_t* tokens, const float* rows, int row_size, int depth) {
    for (int k = 0; k < depth; k++) {
        float* to = out + tokens[k] * Width;
        for (int v = 0; v < Width; v += kLanes) store(to + v, load(to + v) + load(rows + k * row_size + v));
    }
}
