// The matrix products of a cell's gates, with sums in registers.

#pragma once

#include "cell.h"

// The sums of a tile of rows and vectors of units: those of vector u of row r stand at r * Units + u.
template <int Rows, int Units>
using TileSums = Sums<Rows * Units, Cell::kSums>;

// sum[r * Units + u][First + g] += sum_k a[r, k] b[k, gate g, vector u], a row of b being kGates times gate_size floats.
template <int First, int Rows, int Units>
INLINE void multiply_add_gates(TileSums<Rows, Units>& sum, const float* a, int64_t a_row, const float* b,
                               int64_t gate_size, int64_t depth) {
#pragma GCC unroll 2
    for (int64_t k = 0; k < depth; k++) {
        Vec columns[Units][Cell::kGates];
        for (int u = 0; u < Units; u++)
            for (int g = 0; g < Cell::kGates; g++)
                columns[u][g] = load_loose(b + (k * Cell::kGates + g) * gate_size + u * kLanes);
        for (int r = 0; r < Rows; r++) {
            const Vec factor = broadcast(a[r * a_row + k]);
            for (int u = 0; u < Units; u++)
                for (int g = 0; g < Cell::kGates; g++) {
                    Vec& to = sum[r * Units + u][First + g];
                    to = fused(factor, columns[u][g], to);
                }
        }
    }
}
