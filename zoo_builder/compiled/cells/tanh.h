// The simple recurrent network (Elman 1990), as `torch.nn.RNN` computes it: h' = tanh(..) of the pre-activation.

#pragma once

struct Cell {
    static constexpr int kGates = 1, kSums = 1;
    static constexpr int input_place(int gate) { return gate; }
    static constexpr bool kHasMemory = false, kKeepsSums = false, kCarries = false;

    template <int Rows>
    INLINE void step(Sums<Rows, kSums>& sums, State (&states)[Rows]) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) states[r].hidden = tanh_of(sums[r][0]);
    }

    INLINE void step_back(Vec (&sums)[kSums], State, State after, Vec d_hidden, Vec&) {
        sums[0] = fused(-(d_hidden * after.hidden), after.hidden, d_hidden);
    }
};
