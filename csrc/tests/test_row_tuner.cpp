#include "core/row_tuner.h"

#include <doctest/doctest.h>

using arts::RowTuner;

TEST_CASE("rows are added only where a measurement says that it pays") {
    RowTuner tuner(32);
    CHECK(tuner.padded(15) == 15); // nothing is known
    tuner.record(16, 0.48);
    CHECK(tuner.padded(15) == 15); // 15 itself is not measured yet
    tuner.record(15, 0.62);
    CHECK(tuner.padded(15) == 16);
    tuner.record(12, 0.49);
    CHECK(tuner.padded(12) == 12); // within noise
    tuner.record(32, 0.40);
    CHECK(tuner.padded(15) == 32);
    CHECK(tuner.padded(32) == 32);
}

TEST_CASE("what is measured later counts more") {
    RowTuner tuner(16);
    tuner.record(15, 1.0);
    tuner.record(16, 0.5);
    for (int i = 0; i < 20; ++i) {
        tuner.record(16, 1.2);
    }
    CHECK(tuner.padded(15) == 15);
}
