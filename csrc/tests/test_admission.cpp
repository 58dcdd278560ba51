// Who is in the batch, and whose cells are in the cache.

#include "engine_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

using namespace engine_tests;

TEST_CASE("a cache too small for all branches changes the order of the work, not its outcome") {
    stub::Options small;
    small.num_cells = 70;
    Setup setup(small);
    std::vector<BranchId> branches;
    for (std::uint64_t stream = 0; stream < 20; ++stream) {
        branches.push_back(setup.open(stream));
        setup.engine.run(branches.back(), stream % 2 == 0);
    }
    for (auto events = setup.engine.advance(-1, {}); !events.empty(); events = setup.engine.advance(-1, {})) {
        setup.engine.check();
        CHECK(setup.engine.stats().num_cells_used == static_cast<std::int64_t>(setup.context.num_used()));
        CHECK(setup.engine.stats().num_cells_high_water == static_cast<std::int64_t>(setup.context.high_water()));
        for (const Event & event : events) {
            if (event.kind == EventKind::StepEnded) {
                setup.engine.run(event.branch, true);
            }
        }
    }
    for (std::uint64_t stream = 0; stream < 20; ++stream) {
        CHECK(setup.engine.tokens(branches[stream]) == setup.alone(stream, 30));
    }
    CHECK(setup.engine.stats().num_parked > 0);
}

TEST_CASE("parking frees a branch's own cells and loses no token") {
    Setup setup;
    const BranchId a = setup.open(0), b = setup.open(1);
    setup.engine.run(a, true);
    setup.engine.run(b, true);
    for (auto events = setup.engine.advance(-1, {}); !events.empty(); events = setup.engine.advance(-1, {})) {
        for (const Event & event : events) {
            if (event.kind == EventKind::StepEnded) {
                setup.engine.park(event.branch);
                setup.engine.check();
                setup.engine.run(event.branch, true);
            }
        }
    }
    CHECK(setup.engine.tokens(a) == setup.alone(0, 30));
    CHECK(setup.engine.tokens(b) == setup.alone(1, 30));
    setup.engine.park(a);
    setup.engine.park(b);
    CHECK(setup.engine.stats().num_cells_used <= static_cast<std::int64_t>(prompt.size()) + 30);
    setup.engine.close(a);
    setup.engine.close(b);
    CHECK(setup.engine.stats().num_cells_used == 0);
    CHECK(setup.engine.stats().num_sequences_used == 0);
    CHECK(setup.context.num_used() == 0);
}

TEST_CASE("the owner who began first goes first, with forks that are younger than another's branches too") {
    EngineOptions narrow;
    narrow.max_rows = 2;
    Setup setup({}, narrow);
    setup.sampling->logit_bias = {{setup.context.options.num_vocab - 1, -std::numeric_limits<float>::infinity()}};
    const BranchId main = setup.open(0, 20, 1);
    setup.engine.run(main, false);
    setup.finish();
    std::vector<BranchId> others;
    for (std::uint64_t stream = 1; stream < 5; ++stream) {
        others.push_back(setup.open(stream, 20, 2));
        setup.engine.run(others.back(), false);
    }
    setup.engine.advance(0, {}); // two of them are rows now
    for (std::int32_t position = 6; position < 9; ++position) {
        setup.engine.run(setup.engine.fork(main, position), false);
    }
    std::vector<bool> is_others;
    for (const Event & event : setup.finish()) {
        is_others.push_back(std::find(others.begin(), others.end(), event.branch) != others.end());
    }
    CHECK(is_others == std::vector<bool>{true, true, false, false, false, true, true});
    for (std::size_t i = 0; i < others.size(); ++i) {
        CHECK(setup.engine.tokens(others[i]).size() == prompt.size() + 20);
    }
}

TEST_CASE("a young fork of the first owner goes before another's branch that comes back from its pause") {
    EngineOptions narrow;
    narrow.max_rows = 1;
    Setup setup({}, narrow);
    setup.sampling->logit_bias = {{setup.context.options.num_vocab - 1, -std::numeric_limits<float>::infinity()}};
    const BranchId main = setup.open(0, 20, 1);
    setup.engine.run(main, false);
    setup.finish();
    const BranchId other = setup.open(1, 20, 2);
    setup.engine.run(other, false);
    setup.engine.advance(0, {});
    setup.engine.pause(other);
    setup.engine.run(setup.engine.fork(main, 8), false);
    setup.engine.run(other, false);
    const auto events = setup.finish();
    REQUIRE(events.size() == 2);
    CHECK(events.back().branch == other);
}

TEST_CASE("a branch goes in its own owner's turn, also where it stands beside a branch of a later owner") {
    EngineOptions narrow;
    narrow.max_rows = 1;
    Setup setup({}, narrow);
    setup.sampling->temperature = 0; // equal prompts stay equal
    setup.sampling->logit_bias = {{setup.context.options.num_vocab - 1, -std::numeric_limits<float>::infinity()}};
    setup.open(0, 8, 1);
    const BranchId other = setup.open(1, 8, 2, {5, 6, 7}), beside = setup.open(2, 8, 3), first = setup.open(3, 8, 1);
    for (const BranchId branch : {beside, first, other}) {
        setup.engine.run(branch, false);
    }
    std::vector<BranchId> ended;
    for (const Event & event : setup.finish()) {
        ended.push_back(event.branch);
    }
    CHECK(ended == std::vector<BranchId>{first, beside, other});
}

TEST_CASE("a sliding-window model's cells are held twice") {
    EngineOptions options;
    options.pins_cells = true;
    Setup setup({}, options);
    const BranchId branch = setup.open(0, 20), other = setup.open(1, 20);
    setup.engine.run(branch, false);
    setup.engine.run(other, false);
    setup.finish();
    for (const stub::Cell & cell : setup.context.cells) {
        CHECK(cell.sequences.size() % 2 == 0);
    }
    CHECK(setup.engine.tokens(branch) == setup.alone(0, 20));
    setup.engine.check();
    setup.engine.close(branch);
    setup.engine.close(other);
    CHECK(setup.context.num_used() == 0);
}

TEST_CASE("rows are added where that is faster, and change nothing but the time") {
    EngineOptions options;
    options.max_rows = 9;
    Setup setup({}, options);
    setup.context.slow_unless = 4;
    std::vector<BranchId> branches;
    for (std::uint64_t stream = 0; stream < 9; ++stream) {
        branches.push_back(setup.open(stream, 20 + static_cast<std::int32_t>(stream)));
        setup.engine.run(branches.back(), false);
    }
    setup.finish();
    CHECK(setup.engine.stats().num_rows_padding > 0);
    CHECK(setup.context.num_slow_calls < setup.context.num_decodes);
    for (std::uint64_t stream = 0; stream < 9; ++stream) {
        CHECK(setup.engine.tokens(branches[stream]) == setup.alone(stream, 20 + static_cast<std::int32_t>(stream)));
    }
}

TEST_CASE("a prompt may go through a branch that paused with its last token still to be decoded") {
    Setup setup;
    const BranchId paused = setup.open(0), other = setup.open(1), limited = setup.open(2, 30, 7);
    setup.engine.run(paused, false);
    setup.engine.run(other, false);
    setup.engine.advance(0, {}); // they part: each has a run of its own, with one token
    setup.engine.set_quota(7, 0);
    setup.engine.run(limited, false);
    REQUIRE(setup.engine.advance(-1, {}).front().kind == EventKind::LimitReached); // the others were about to be decoded
    setup.engine.pause(paused);
    std::vector<Token> longer = setup.engine.tokens(paused);
    REQUIRE(setup.engine.num_cached(paused) == static_cast<std::int32_t>(longer.size()) - 1);
    longer.insert(longer.end(), {5, 6, 7});
    const BranchId branch = setup.open(3, 30, 0, longer);
    setup.engine.run(branch, false);
    setup.finish();
    setup.engine.run(paused, false);
    setup.finish();
    CHECK(setup.engine.tokens(paused) == setup.alone(0, 30));
    CHECK(setup.engine.tokens(branch) == setup.alone(3, 30, longer));
}
