// What a row of the model's output says of the prefix that it ends: a dot product, or one logit.
#pragma once

#include "sampling.h"

#include <cstddef>
#include <vector>

namespace arts {

struct ValueHead {
    std::vector<float> weight; // of the hidden state after the final norm; empty: no such head
    Token token = -1;          // the vocabulary slot whose logit is the value; -1: no such head
    double bias = 0;

    bool is_set() const { return is_linear() || token >= 0; }
    bool is_linear() const { return !weight.empty(); }

    // `state` is as long as the weight.
    double of_state(const float * state) const {
        double sum = bias;
        for (std::size_t i = 0; i < weight.size(); ++i) {
            sum += static_cast<double>(weight[i]) * static_cast<double>(state[i]);
        }
        return sum;
    }
    double of_logits(const float * logits) const { return static_cast<double>(logits[token]) + bias; }
};

} // namespace arts
