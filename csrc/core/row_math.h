// The loops over a whole row of logits (150,000 floats and more), written so that compilers vectorise them.
#pragma once

#include <cstddef>

namespace arts {

// out[b] = max(row[b * block_size : (b + 1) * block_size]).
void block_maxima(const float * row, std::size_t size, std::size_t block_size, float * out);

// sum(exp((row - max) * scale)), for max >= all elements and scale > 0; relative error below 1e-6. NaN in, NaN out.
double sum_exp(const float * row, std::size_t size, float max, float scale);

// sum(exp((row - max) * scale) * (row - max)), of which elements of -inf are no part; otherwise as sum_exp.
double sum_exp_times_excess(const float * row, std::size_t size, float max, float scale);

} // namespace arts
