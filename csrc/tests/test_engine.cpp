// Branches from open to their end, and what calls may do to them meanwhile.

#include "core/error.h"
#include "engine_setup.h"

#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <thread>

using namespace engine_tests;

TEST_CASE("every branch holds what it would have drawn alone") {
    Setup setup;
    std::vector<BranchId> branches;
    for (std::uint64_t stream = 0; stream < 12; ++stream) {
        branches.push_back(setup.open(stream));
        setup.engine.run(branches.back(), false);
    }
    setup.finish();
    for (std::uint64_t stream = 0; stream < 12; ++stream) {
        CHECK(setup.engine.tokens(branches[stream]) == setup.alone(stream, 30));
        CHECK(setup.engine.state(branches[stream]) == BranchState::Ended);
    }
}

TEST_CASE("equal prompts are decoded once, and branches that are still equal share their rows") {
    Setup setup;
    setup.sampling->temperature = 0; // greedy: they stay equal for good
    for (std::uint64_t stream = 0; stream < 8; ++stream) {
        setup.engine.run(setup.open(stream, 10), false);
    }
    setup.finish();
    const Stats stats = setup.engine.stats();
    CHECK(stats.num_tokens_prefilled == 4); // the prompt but for its last token, whose row is sampled
    CHECK(stats.num_tokens_decoded <= 10);
    CHECK(stats.num_forks == 0);
}

TEST_CASE("a quota is never exceeded") {
    Setup setup;
    setup.engine.set_quota(7, 25);
    std::vector<BranchId> branches;
    for (std::uint64_t stream = 0; stream < 6; ++stream) {
        branches.push_back(setup.open(stream, 30, 7));
        setup.engine.run(branches.back(), false);
    }
    std::size_t num_limited = 0, num_ended = 0;
    for (const Event & event : setup.finish()) {
        num_limited += event.kind == EventKind::LimitReached;
        num_ended += event.kind == EventKind::TraceEnded;
    }
    CHECK(setup.engine.quota_spent(7) == 25);
    CHECK(num_limited + num_ended == 6);
}

TEST_CASE("a truncated branch goes on as if it had never been longer") {
    Setup setup;
    const BranchId branch = setup.open(3);
    setup.engine.run(branch, false);
    setup.finish();
    const auto whole = setup.engine.tokens(branch);
    setup.engine.truncate(branch, 9);
    CHECK(setup.engine.num_tokens(branch) == 9);
    setup.engine.check();
    setup.engine.run(branch, false);
    setup.finish();
    CHECK(setup.engine.tokens(branch) == whole); // draws are a function of the position
}

TEST_CASE("a trace that alone outgrows the cache ends with a reason") {
    stub::Options small;
    small.num_cells = 60;
    EngineOptions options;
    options.max_trace_tokens = 60;
    Setup setup(small, options);
    setup.sampling->logit_bias = {{small.num_vocab - 1, -std::numeric_limits<float>::infinity()}};
    const BranchId other = setup.open(9, 8);
    setup.engine.run(other, false);
    setup.finish();
    const BranchId branch = setup.open(0, 1000);
    setup.engine.run(branch, false);
    const auto events = setup.finish();
    REQUIRE(!events.empty());
    CHECK(events.back().reason == StopReason::ContextFull);
    CHECK(setup.engine.num_tokens(branch) == 60);
}

TEST_CASE("without time a call still decodes once; after an interrupt it does not") {
    Setup setup;
    const BranchId branch = setup.open(0);
    setup.engine.run(branch, false);
    auto events = setup.engine.advance(0, {});
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::Interrupted);
    CHECK(setup.engine.num_tokens(branch) == static_cast<std::int32_t>(prompt.size()) + 1);
    setup.engine.interrupt();
    events = setup.engine.advance(-1, {});
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::Interrupted);
    CHECK(setup.engine.num_tokens(branch) == static_cast<std::int32_t>(prompt.size()) + 1);
    setup.finish();
    CHECK(setup.engine.tokens(branch) == setup.alone(0, 30));
}

TEST_CASE("wrong calls throw, and the engine works afterwards") {
    Setup setup;
    const auto code_of = [](const auto & call) {
        try {
            call();
        } catch (const Error & error) {
            return error.code();
        }
        return ErrorCode::Internal;
    };
    Engine & engine = setup.engine;
    CHECK(code_of([&] { engine.fork(99, 1); }) == ErrorCode::BranchClosed);
    CHECK(code_of([&] { setup.open(0, 30, 0, {}); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { setup.open(0, 30, 0, {0, 1000}); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { setup.open(0, 30, 0, std::vector<Token>(60, 1)); }) == ErrorCode::ContextOverflow);
    CHECK(code_of([&] { setup.open(0, 0); }) == ErrorCode::InvalidArgument);
    const BranchId branch = setup.open(0);
    CHECK(code_of([&] { engine.fork(branch, 0); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.fork(branch, 6); }) == ErrorCode::InvalidArgument);
    engine.run(branch, false);
    CHECK(code_of([&] { engine.truncate(branch, 1); }) == ErrorCode::InvalidArgument);
    setup.context.fail_next_with = -3;
    CHECK(code_of([&] { engine.advance(-1, {}); }) == ErrorCode::Decode);
    setup.finish();
    CHECK(engine.tokens(branch) == setup.alone(0, 30));
    CHECK(code_of([&] { engine.run(branch, false); }) == ErrorCode::InvalidArgument);
    engine.shutdown();
    CHECK(code_of([&] { engine.run(branch, false); }) == ErrorCode::BranchClosed);
    engine.shutdown();
}

TEST_CASE("a row that cannot be drawn from stops the call; without its branch the others go on") {
    Setup setup;
    const BranchId good = setup.open(0);
    setup.sampling = std::make_shared<SamplingParams>();
    for (Token token = 0; token < setup.context.options.num_vocab; ++token) { // each is finite, their sum is not
        setup.sampling->logit_bias.insert(setup.sampling->logit_bias.end(), 2, {token, -std::numeric_limits<float>::max()});
    }
    const BranchId bad = setup.open(1);
    setup.engine.run(good, false);
    setup.engine.run(bad, false);
    for (int i = 0; i < 2; ++i) {
        CHECK_THROWS_AS(setup.engine.advance(-1, {}), Error);
        setup.engine.check();
    }
    setup.engine.close(bad);
    setup.finish();
    setup.sampling = std::make_shared<SamplingParams>();
    CHECK(setup.engine.tokens(good) == setup.alone(0, 30));
}

TEST_CASE("threads take turns") {
    Setup setup;
    std::vector<std::thread> threads;
    std::atomic<int> num_ended{0};
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 20; ++i) {
                const BranchId branch = setup.open(static_cast<std::uint64_t>(t * 100 + i), 15, t);
                setup.engine.run(branch, false);
                while (setup.engine.state(branch) != BranchState::Ended) {
                    setup.engine.advance(0.01, {});
                    setup.engine.stats();
                }
                ++num_ended;
                setup.engine.close(branch);
                if (i % 5 == 0) {
                    setup.engine.interrupt();
                }
            }
        });
    }
    for (std::thread & thread : threads) {
        thread.join();
    }
    CHECK(num_ended == 80);
    CHECK(setup.context.num_used() == 0);
}
