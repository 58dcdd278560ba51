#include "cell_map.h"

#include "error.h"

#include <algorithm>

namespace arts {

void CellMap::take(std::size_t count, std::vector<std::uint32_t> & cells) {
    ensure(count <= num_free(), "more cells taken than are free");
    cells.clear();
    if (count == 0) {
        return;
    }
    std::size_t at = head_ > num_used_ + 2 * count ? 0 : head_;
    while (cells.size() < count) {
        if (at >= capacity()) {
            at = 0;
        }
        if (is_used_[at] == 0) {
            cells.push_back(static_cast<std::uint32_t>(at));
            is_used_[at] = 1;
        }
        ++at;
    }
    head_ = cells.back() + 1;
    num_used_ += count;
    high_water_ = std::max<std::size_t>(high_water_, *std::max_element(cells.begin(), cells.end()) + 1);
}

void CellMap::give_back(const std::uint32_t * cells, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        is_used_[cells[i]] = 0;
        head_ = std::min<std::size_t>(head_, cells[i]);
    }
    num_used_ -= count;
    while (high_water_ > 0 && is_used_[high_water_ - 1] == 0) {
        --high_water_;
    }
}

} // namespace arts
