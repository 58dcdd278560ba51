#include "row_tuner.h"

#include <algorithm>
#include <cmath>

namespace arts {
namespace {

constexpr double recency = 0.25;   // weight of a new measurement of one number of rows
constexpr double memory = 0.995;   // of the fit, per decode
constexpr double worthwhile = 0.95; // a change must promise to be this much faster: noise alone does not
constexpr std::size_t min_records = 12;  // before anything is concluded, and between two steps
constexpr double prior_walk = 1e-4;      // of a row's own cost, per cell
constexpr double prior_strength = 1e-3;
constexpr double cell_scale = 1e-3; // keeps the fit's numbers within a few orders of magnitude

} // namespace

RowTuner::RowTuner(std::size_t max_rows, std::size_t first_target)
    : measured_(max_rows + 1), target_(std::min(first_target, max_rows)) {}

void RowTuner::record(std::size_t num_rows, std::size_t num_cells, double seconds) {
    if (seconds <= 0.0) {
        return;
    }
    const std::array<double, 3> x{1.0, static_cast<double>(num_rows), static_cast<double>(num_rows) * static_cast<double>(num_cells) * cell_scale};
    const double weight = 1.0 / (seconds * seconds); // errors are relative
    for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) {
            normal_[i][j] = normal_[i][j] * memory + weight * x[i] * x[j];
        }
        normal_[i][3] = normal_[i][3] * memory + weight * x[i] * seconds;
    }
    ++num_records_;
    fit();
    Measured & mean = measured_[num_rows];
    const double weight_now = mean.seconds == 0.0 ? 1.0 : recency;
    mean.seconds += weight_now * (seconds - mean.seconds);
    mean.cells += weight_now * (static_cast<double>(num_cells) - mean.cells);
}

// Solves the normal equations; costs below zero are zero. While the cache has hardly grown, its share cannot be told
// from the rows': then a prior decides, as measured on models of 1 M and 135 M parameters.
void RowTuner::fit() {
    auto m = normal_;
    m[0][0] *= 1.0 + 1e-6;
    m[1][1] *= 1.0 + 1e-6;
    const double certainty = prior_strength * m[2][2];
    m[2][2] += certainty;
    m[2][3] += certainty * prior_walk * per_row_s_ / cell_scale;
    for (std::size_t pivot = 0; pivot < 3; ++pivot) {
        if (std::abs(m[pivot][pivot]) < 1e-300) {
            return;
        }
        for (std::size_t row = pivot + 1; row < 3; ++row) {
            const double factor = m[row][pivot] / m[pivot][pivot];
            for (std::size_t column = pivot; column < 4; ++column) {
                m[row][column] -= factor * m[pivot][column];
            }
        }
    }
    const double walk = m[2][3] / m[2][2];
    const double per_row = (m[1][3] - m[1][2] * walk) / m[1][1];
    const double fixed = (m[0][3] - m[0][1] * per_row - m[0][2] * walk) / m[0][0];
    walk_s_ = std::max(walk, 0.0);
    per_row_s_ = std::max(per_row, 0.0);
    fixed_s_ = std::max(fixed, 0.0);
}

double RowTuner::base(std::size_t num_rows) const {
    const Measured & mean = measured_[num_rows];
    const auto rows = static_cast<double>(num_rows);
    if (mean.seconds == 0.0) {
        return fixed_s_ + per_row_s_ * rows;
    }
    return std::max(mean.seconds - walk_s_ * rows * mean.cells * cell_scale, 0.1 * mean.seconds);
}

std::size_t RowTuner::padded(std::size_t num_rows, std::size_t num_cells) const {
    const auto seconds = [&](std::size_t rows) {
        return base(rows) + walk_s_ * static_cast<double>(rows) * static_cast<double>(num_cells) * cell_scale;
    };
    std::size_t best = num_rows;
    for (std::size_t rows = num_rows + 1; rows < measured_.size() && measured_[num_rows].seconds > 0.0; ++rows) {
        const double limit = best == num_rows ? seconds(num_rows) * worthwhile : seconds(best);
        if (measured_[rows].seconds > 0.0 && seconds(rows) < limit) {
            best = rows;
        }
    }
    return best;
}

std::size_t RowTuner::target(double cells_per_row, double other_cells) {
    // The line through small batches knows nothing of tiles: the present size is left only once it was measured itself.
    if (num_records_ < min_records || measured_[target_].seconds == 0.0) {
        return target_;
    }
    const auto per_token = [&](std::size_t rows) {
        const double cells = other_cells + static_cast<double>(rows) * cells_per_row;
        return base(rows) / static_cast<double>(rows) + walk_s_ * cells * cell_scale;
    };
    std::size_t best = target_, step_down = 1, step_up = 0;
    for (const std::size_t rows : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256}) {
        if (rows > max_rows()) {
            break;
        }
        step_down = rows < target_ ? rows : step_down;
        step_up = step_up == 0 && rows > target_ ? rows : step_up;
        best = per_token(rows) < per_token(best) ? rows : best;
    }
    if (per_token(best) < worthwhile * per_token(target_)) {
        // In steps, each of them measured before the next: a noisy moment does not lead far astray.
        target_ = best > target_ ? step_up : step_down;
        num_records_ = 0;
    }
    return target_;
}

} // namespace arts
