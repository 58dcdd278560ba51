// Learns from the running loop how long a decode takes, and from that how many branches to run at once.
//
// Model: t(rows, cells) = base(rows) + rows * cells * walk. `base` is kept per number of rows, since matrix kernels work
// in tiles (on a CPU, 15 rows of a quantised 1.5B model take a quarter longer than 16); where it was not measured, a
// straight line stands in. `walk` is what attention pays for every cell below the highest used one, whoever owns it:
// more branches at once spread the base cost over more tokens, but keep more cells alive.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace arts {

class RowTuner {
public:
    explicit RowTuner(std::size_t max_rows, std::size_t first_target = 16);

    // One decode: rows (padding included), the highest used cell + 1, seconds.
    void record(std::size_t num_rows, std::size_t num_cells, double seconds);

    // The number of rows >= num_rows to decode instead: the fastest known, if it saves more than noise would.
    // A size that was never measured is decoded as it is.
    std::size_t padded(std::size_t num_rows, std::size_t num_cells) const;

    // How many branches to run at once for the least time per token, when each keeps `cells_per_row` cells alive on
    // average beside `other_cells`. The first target until enough is known.
    std::size_t target(double cells_per_row, double other_cells);

    std::size_t max_rows() const { return measured_.size() - 1; }

private:
    void fit();
    double base(std::size_t num_rows) const;

    struct Measured {
        double seconds = 0; // 0: not measured yet
        double cells = 0;   // highest used cell + 1 in those measurements
    };
    std::vector<Measured> measured_; // by number of rows
    std::array<std::array<double, 4>, 3> normal_{}; // weighted normal equations of (1, rows, rows * cells) -> seconds
    double fixed_s_ = 0, per_row_s_ = 0, walk_s_ = 0;
    std::size_t num_records_ = 0;
    std::size_t target_;
};

} // namespace arts
