// The sequences of a batch, sorted, so that those which begin alike stand together.
//
// docs/arithmetic.md defines rows, groups and nodes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "data.h"
#include "shape.h"

namespace {

int target_at(const Data& data, const uint8_t* bytes, int label, int64_t t) {
    return kTokens ? bytes[data.first_target() + t] : label;
}

// The sequences of one batch, as their run sees them. A row is one or several of them that have the same inputs.
class Batch {
  public:
    explicit Batch(const Data& data) : data_(data) {}

    void read(int64_t run, const int32_t* item_ids, int64_t sequences) {
        items_.assign(item_ids, item_ids + sequences);
        bytes_.resize(sequences);
        if (data_.views != nullptr) viewed_.resize(sequences * data_.view_bytes);
        for (int64_t s = 0; s < sequences; s++) {
            bytes_[s] = data_.items + items_[s] * data_.item_bytes;
            if (data_.views == nullptr) continue;
            uint8_t* viewed = viewed_.data() + s * data_.view_bytes;
            see(viewed, data_.views + run * data_.view_bytes, bytes_[s]);
            bytes_[s] = viewed;
        }
        order_.resize(sequences);
        for (int64_t s = 0; s < sequences; s++) order_[s] = static_cast<int32_t>(s);
        std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
            return std::memcmp(bytes_[a], bytes_[b], data_.view_bytes) < 0;
        });
        first_of_row_.clear();
        shared_.clear();
        for (int64_t place = 0; place < sequences; place++) {
            const int shared = place == 0 ? 0 : shared_steps(bytes_[order_[place - 1]], bytes_[order_[place]]);
            if (place > 0 && shared == data_.steps) continue;
            first_of_row_.push_back(static_cast<int32_t>(place));
            shared_.push_back(shared);
        }
        first_of_row_.push_back(static_cast<int32_t>(sequences));
    }

    int rows() const { return static_cast<int>(shared_.size()); }
    // How many steps a row shares with the row before it.
    int shared(int row) const { return shared_[row]; }
    const uint8_t* bytes(int row) const { return bytes_[order_[first_of_row_[row]]]; }

    // Calls visit(sequence, its bytes, its label) for every sequence of a row.
    template <class Visit>
    void for_members(int row, Visit visit) const {
        for (int place = first_of_row_[row]; place < first_of_row_[row + 1]; place++) {
            const int32_t sequence = order_[place];
            visit(sequence, bytes_[sequence], kTokens ? 0 : data_.labels[items_[sequence]]);
        }
    }

  private:
    void see(uint8_t* __restrict viewed, const int16_t* view, const uint8_t* bytes) const {
        for (int64_t j = 0; j < data_.view_bytes; j++) viewed[j] = view[j] < 0 ? 0 : bytes[view[j]];
    }

    // How many steps from the first on have the same inputs.
    int shared_steps(const uint8_t* a, const uint8_t* b) const {
        const int64_t same = std::mismatch(a, a + data_.view_bytes, b).first - a;
        const int64_t steps = kTokens ? same : 1 + same / kInputs;  // items are read from step 1 on
        return static_cast<int>(std::min(steps, data_.steps));
    }

    const Data& data_;
    std::vector<int32_t> items_, order_, first_of_row_;
    std::vector<int> shared_;
    std::vector<const uint8_t*> bytes_;
    std::vector<uint8_t> viewed_;
};

}  // namespace
