// Learns from the running loop how long a decode takes by its number of rows, and when more rows take less time.
//
// Matrix kernels work in tiles: on a CPU, 15 rows of a quantised 1.5B model take a quarter longer than 16. Which sizes
// are good differs by model, processor and library version, so it is measured where it matters.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace arts {

class RowTuner {
public:
    explicit RowTuner(std::size_t max_rows) : seconds_(max_rows + 1, 0.0) {}

    void record(std::size_t num_rows, double seconds) {
        double & mean = seconds_[num_rows];
        mean = mean == 0.0 ? seconds : mean + recency * (seconds - mean);
    }

    // The number of rows >= num_rows to decode instead: the fastest known, if it saves more than noise would.
    // A size that was never measured is decoded as it is.
    std::size_t padded(std::size_t num_rows) const {
        const double unpadded = seconds_[num_rows];
        std::size_t best = num_rows;
        for (std::size_t candidate = num_rows + 1; candidate < seconds_.size() && unpadded > 0.0; ++candidate) {
            const double limit = best == num_rows ? unpadded * worthwhile : seconds_[best];
            if (seconds_[candidate] > 0.0 && seconds_[candidate] < limit) {
                best = candidate;
            }
        }
        return best;
    }

private:
    static constexpr double recency = 0.25;
    static constexpr double worthwhile = 0.95;

    std::vector<double> seconds_; // by number of rows; 0: not measured yet
};

} // namespace arts
