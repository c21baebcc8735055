// GRU (Cho et al. 2014) in the form of `torch.nn.GRU`, gates r, z, n:
//
//   h' = (1 - z) n + z h   with r, z = sigmoid(..) of the pre-activations, n = tanh(W_in x + b_in + r m),
//                          m = W_hn h + b_hn
//
// r scales the recurrent share of n alone, so that n has two sums: n's input share, r, z, m.

#pragma once

struct Cell {
    static constexpr int kGates = 3, kSums = 4;
    static constexpr int input_place(int gate) { return gate == 2 ? 0 : gate + 1; }
    static constexpr bool kHasMemory = false, kKeepsSums = true, kCarries = true;

    template <int Rows>
    INLINE void step(Sums<Rows, kSums>& sums, State (&states)[Rows]) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) {
            sigmoid_pair(sums[r][1], sums[r][2]);
            sums[r][0] = fused(sums[r][1], sums[r][3], sums[r][0]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) {
            sums[r][0] = tanh_of(sums[r][0]);
            states[r].hidden = fused(sums[r][2], states[r].hidden - sums[r][0], sums[r][0]);
        }
    }

    // dh = d_hidden + carried;  carried = dh z
    // dz = dh (h - n) z (1 - z);  dn = dh (1 - z) (1 - n^2);  dm = dn r;  dr = dn m r (1 - r)
    INLINE void step_back(Vec (&sums)[kSums], State before, State, Vec d_hidden, Vec& carried) {
        const Vec n = sums[0], r = sums[1], z = sums[2], m = sums[3];
        const Vec dh = d_hidden + carried;
        carried = dh * z;
        const Vec by_n = dh - carried;
        const Vec dn = fused(-(by_n * n), n, by_n), dm = dn * r;
        sums[0] = dn;
        sums[1] = dm * m * (1.0f - r);
        sums[2] = carried * (before.hidden - n) * (1.0f - z);
        sums[3] = dm;
    }
};
