#include "core/row_tuner.h"

#include <doctest/doctest.h>

#include <cstddef>

using arts::RowTuner;

namespace {

// Feeds the tuner a machine with these costs, at a few sizes and a growing cache.
void feed(RowTuner & tuner, double fixed, double per_row, double walk, std::size_t rows, std::size_t cells_per_row) {
    const auto seconds = [&](std::size_t r, std::size_t cells) { return fixed + per_row * double(r) + walk * double(r * cells); };
    tuner.record(1, 100, seconds(1, 100));
    for (std::size_t step = 1; step <= 40; ++step) {
        const std::size_t cells = 100 + rows * cells_per_row * step / 40;
        tuner.record(rows, cells, seconds(rows, cells));
    }
}

} // namespace

TEST_CASE("rows are added only where a measurement says that it pays") {
    RowTuner tuner(32);
    CHECK(tuner.padded(15, 100) == 15); // nothing is known
    tuner.record(16, 100, 0.48);
    CHECK(tuner.padded(15, 100) == 15); // 15 itself is not measured yet
    tuner.record(15, 100, 0.62);
    CHECK(tuner.padded(15, 100) == 16);
    CHECK(tuner.padded(32, 100) == 32);
}

TEST_CASE("what is measured later counts more") {
    RowTuner tuner(16);
    tuner.record(15, 100, 1.0);
    tuner.record(16, 100, 0.5);
    for (int i = 0; i < 30; ++i) {
        tuner.record(16, 100, 1.2);
    }
    CHECK(tuner.padded(15, 100) == 15);
}

TEST_CASE("where cells cost little, as many branches run as may; where they cost much, few") {
    RowTuner unknown(48);
    CHECK(unknown.target(128, 100) == 16);
    CHECK(RowTuner(48, 4).target(128, 100) == 4);
    CHECK(RowTuner(2, 4).target(128, 100) == 2);
    RowTuner cheap(48); // a GPU: the base cost hardly depends on the rows
    feed(cheap, 10e-3, 0.05e-3, 1e-9, 16, 256);
    CHECK(cheap.target(128, 100) == 24);
    CHECK(cheap.target(128, 100) == 24); // one step at a time
    feed(cheap, 10e-3, 0.05e-3, 1e-9, 24, 256);
    CHECK(cheap.target(128, 100) == 32);
    feed(cheap, 10e-3, 0.05e-3, 1e-9, 32, 256);
    CHECK(cheap.target(128, 100) == 48);
    RowTuner dear(48); // a 1 M model on one thread
    feed(dear, 30e-6, 50e-6, 10e-9, 16, 256);
    CHECK(dear.target(128, 100) == 12);
    for (const std::size_t rows : {12, 8}) {
        feed(dear, 30e-6, 50e-6, 10e-9, rows, 256);
        dear.target(128, 100);
    }
    CHECK(dear.target(128, 100) == 8); // 6 would save 2 %
    RowTuner brief(48); // short branches keep few cells alive
    feed(brief, 30e-6, 50e-6, 10e-9, 16, 256);
    CHECK(brief.target(2, 100) >= 12);
}

TEST_CASE("a size is not left before it was measured") {
    RowTuner tuner(48);
    for (std::size_t rows = 1; rows <= 8; ++rows) { // without any gain from batching so far
        tuner.record(rows, 100, 25e-3 * double(rows));
        tuner.record(rows, 200, 25e-3 * double(rows));
    }
    CHECK(tuner.target(128, 100) == 16);
    for (int i = 0; i < 12; ++i) {
        tuner.record(16, 300, 16 * 15e-3);
    }
    CHECK(tuner.target(128, 100) >= 16);
}

TEST_CASE("the choice does not hop about for a gain that noise explains") {
    RowTuner tuner(48);
    feed(tuner, 1e-3, 1e-3, 0.0, 16, 256); // 24 rows would save 2 %
    const std::size_t target = tuner.target(128, 100);
    CHECK(target == 16);
}
