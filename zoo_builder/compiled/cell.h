// The cell of an RNN, fixed when code is compiled: RNNZOO_CELL names its header, "cells/lstm.h".
//
// A cell's header defines `struct Cell`, all that is special about it:
//
//   kGates        blocks of rows in PyTorch's weight matrices and biases
//   kSums         pre-activations of a unit, side by side in one row: the first kGates of them take what W_ih and
//                 b_ih give, the last kGates what W_hh and b_hh give; where the two overlap, they add up
//   input_place   where in that row a gate of W_ih and b_ih stands; those of W_hh and b_hh stand in PyTorch's order
//   kHasMemory    whether a unit has a second state variable, which no weights read (c of an LSTM)
//   kKeepsSums    whether the way back needs what `step` leaves in the sums
//   kCarries      whether a step's state acts on the next one by another way than W_hh
//   step          from the pre-activations of some rows, which it replaces by what `step_back` needs, and the
//                 state before: the state after. Of zeros it makes zeros, so that rows may be padded.
//   step_back     replaces what `step` left by the gradients of the pre-activations. d_hidden: the gradient of h by
//                 W_hh and by what reads h. carried: that of the memory, or of h in a cell without one, by what the
//                 step after this one carries on; replaced by the same for the step before.

#pragma once

#include "functions.h"

// Of one vector of units.
struct State {
    Vec hidden, memory;  // h, and zero in a cell without a memory
};

#include RNNZOO_CELL

// The first of the sums that take the input's share, and of those that take the state's.
constexpr int kFirstInput = 0, kFirstState = Cell::kSums - Cell::kGates;
