// LSTM (Hochreiter & Schmidhuber 1997, with forget gates after Gers et al. 2000), as `torch.nn.LSTM` computes it:
//
//   c' = f c + i g,  h' = o tanh(c')   with i, f, o = sigmoid(..), g = tanh(..) of the pre-activations

#pragma once

struct Cell {
    static constexpr int kGates = 4, kSums = 4;
    static constexpr int input_place(int gate) { return gate; }
    static constexpr bool kHasMemory = true, kKeepsSums = true, kCarries = true;

    template <int Rows>
    INLINE void step(Sums<Rows, kSums>& sums, State (&states)[Rows]) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) {
            sigmoid_pair(sums[r][0], sums[r][1]);
            tanh_and_sigmoid(sums[r][2], sums[r][3]);
            states[r].memory = fused(sums[r][1], states[r].memory, sums[r][0] * sums[r][2]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; r++) states[r].hidden = sums[r][3] * tanh_of(states[r].memory);
    }

    // dc = carried + dh o (1 - tanh(c')^2) = carried + dh (o - h'^2 / o);  carried = dc f
    // do = dh tanh(c') o (1 - o) = dh h' (1 - o);  di = dc g i (1 - i);  df = dc c f (1 - f);  dg = dc i (1 - g^2)
    //
    // Taking tanh(c') from h' costs a division (o is never 0: sigmoids saturate), and saves keeping it for all steps.
    INLINE void step_back(Vec (&sums)[kSums], State before, State after, Vec d_hidden, Vec& carried) {
        const Vec i = sums[0], f = sums[1], g = sums[2], o = sums[3], h = after.hidden;
        const Vec dc = fused(d_hidden, o - h * h / o, carried);
        const Vec dc_i = dc * i, dc_f = dc * f;
        sums[0] = dc_i * g * (1.0f - i);
        sums[1] = dc_f * before.memory * (1.0f - f);
        sums[2] = fused(-(dc_i * g), g, dc_i);
        sums[3] = d_hidden * h * (1.0f - o);
        carried = dc_f;
    }
};
