// The items of N runs, as compiled code gets them.

#pragma once

#include "vectors.h"

constexpr int kRows = 16;  // the most of a group: see docs/arithmetic.md

// Mirrors `CompiledData` in fused_cpu.py; tasks/data.py and `CompiledForm` say what the fields mean.
struct Data {
    const uint8_t* items;   // [I, item_bytes]
    const uint8_t* labels;  // [I], or null
    const int16_t* views;   // [N, view_bytes], or null
    int64_t item_bytes;
    int64_t view_bytes;     // F', which is item_bytes without views
    int64_t steps;          // T
    float scale, shift;     // a pixel p becomes p * scale + shift
    bool every_answer;      // whether a sequence is right if all answers are, and not by the last alone
    // The byte of a view that is the target of step 0, where items are tokens: the last T bytes are the targets.
    int64_t first_target() const { return view_bytes - steps; }
};
