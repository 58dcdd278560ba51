// Forks and later traces, which draw from what was kept of rows long gone.

#include "engine_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace engine_tests;

TEST_CASE("a late fork at a boundary draws from the candidates that were kept, without decoding anything") {
    Setup setup;
    setup.sampling->logit_bias = {{stub::blank_line, 2.0f}};
    const BranchId main = setup.open(0, 40);
    setup.engine.run(main, false);
    setup.finish();
    const auto boundaries = setup.engine.boundaries(main);
    REQUIRE(!boundaries.empty());
    const auto before = setup.engine.stats();
    const BranchId child = setup.engine.fork(main, boundaries.front());
    setup.engine.run(child, false);
    setup.finish();
    const auto after = setup.engine.stats();
    CHECK(after.num_tokens_redecoded == before.num_tokens_redecoded);
    const auto tokens = setup.engine.tokens(child);
    const auto parent = setup.engine.tokens(main);
    CHECK(std::equal(parent.begin(), parent.begin() + boundaries.front(), tokens.begin()));
    CHECK(setup.engine.boundaries(child).front() == boundaries.front());
    setup.engine.check();
}

TEST_CASE("each token knows the mean log-probability of the row that it was drawn from, whatever forked and split it") {
    Setup setup;
    std::vector<BranchId> branches{setup.open(0, 30), setup.open(1, 30)};
    setup.engine.run(branches[0], false);
    setup.engine.run(branches[1], false);
    setup.finish();
    branches.push_back(setup.engine.fork(branches[0], static_cast<std::int32_t>(prompt.size()) + 7));
    setup.engine.run(branches[2], false);
    setup.finish();
    Sampler sampler;
    for (const BranchId branch : branches) {
        const auto tokens = setup.engine.tokens(branch);
        const auto means = setup.engine.expected_log_probs(branch);
        REQUIRE(means.size() == tokens.size() - prompt.size());
        for (std::size_t i = 0; i < means.size(); ++i) {
            const std::vector<Token> before(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size() + i));
            const auto logits = stub::Context::logits(setup.context.options, before);
            CHECK(means[i] == doctest::Approx(sampler.filter(logits.data(), logits.size(), *setup.sampling, before).front().expected_log_p));
        }
    }
}

TEST_CASE("a fork whose draw was not kept decodes one token again and counts it") {
    Setup setup;
    const BranchId main = setup.open(0, 30);
    setup.engine.run(main, false);
    setup.finish();
    std::int64_t num_known = 0;
    for (int i = 0; i < 30; ++i) { // only the likeliest candidates of that place were kept
        const auto before = setup.engine.stats().num_tokens_redecoded;
        const BranchId child = setup.engine.fork(main, static_cast<std::int32_t>(prompt.size()) + 1);
        setup.engine.run(child, false);
        setup.finish();
        CHECK(setup.engine.stats().num_tokens_redecoded - before <= 1);
        num_known += setup.engine.stats().num_tokens_redecoded == before ? 1 : 0;
        setup.engine.check();
        setup.engine.close(child);
    }
    CHECK(num_known > 0);
    CHECK(num_known < 30);
}

TEST_CASE("traces drawn one after another decode only what no earlier one has drawn") {
    for (const bool pauses_on_step : {false, true}) {
        Setup setup;
        setup.sampling->logit_bias = {{7, 12.0f}, {stub::blank_line, 9.0f}}; // mostly these two
        std::set<std::vector<Token>> prefixes;
        std::int64_t num_drawn = 0;
        for (std::uint64_t stream = 0; stream < 12; ++stream) {
            const BranchId branch = setup.open(stream, 40);
            setup.engine.run(branch, pauses_on_step);
            std::vector<std::int32_t> paused;
            for (auto events = setup.engine.advance(-1, {}); !events.empty(); events = setup.engine.advance(-1, {})) {
                setup.engine.check();
                if (events.back().kind == EventKind::StepEnded) {
                    paused.push_back(events.back().position);
                    setup.engine.run(branch, true);
                }
            }
            const auto tokens = setup.engine.tokens(branch);
            CHECK(tokens == setup.alone(stream, 40));
            const auto boundaries = setup.engine.boundaries(branch);
            CHECK(paused.size() >= (pauses_on_step ? boundaries.size() : 0));
            CHECK(std::equal(boundaries.begin(), boundaries.end(), pauses_on_step ? paused.begin() : boundaries.begin()));
            num_drawn += static_cast<std::int64_t>(tokens.size() - prompt.size());
            for (std::size_t length = prompt.size() + 1; length < tokens.size(); ++length) { // the last token is never decoded
                prefixes.emplace(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(length));
            }
        }
        const Stats stats = setup.engine.stats();
        const auto num_distinct = static_cast<std::int64_t>(prefixes.size());
        CHECK(2 * num_distinct < num_drawn);
        CHECK(stats.num_tokens_decoded >= num_distinct); // not equal: behind a token that was decoded again the path is another one
        CHECK(stats.num_tokens_decoded + stats.num_tokens_redecoded <= num_distinct + 24);
    }
}

TEST_CASE("a trace goes along one that is being drawn, and joins it") {
    Setup setup;
    setup.sampling->temperature = 0; // both draw the same
    const BranchId first = setup.open(0, 30);
    setup.engine.run(first, false);
    while (setup.engine.num_tokens(first) < 12) {
        setup.engine.advance(0, {});
    }
    const BranchId second = setup.open(1, 30);
    setup.engine.run(second, false);
    setup.finish();
    CHECK(setup.engine.tokens(second) == setup.engine.tokens(first));
    CHECK(setup.engine.stats().num_tokens_decoded <= 30);
    CHECK(setup.engine.stats().num_tokens_redecoded == 0);
}

TEST_CASE("a trace goes along one that is just brought back into the cache") {
    Setup setup;
    setup.sampling->temperature = 0; // both draw the same
    const BranchId first = setup.open(0, 30), second = setup.open(1, 30);
    setup.engine.run(first, false);
    while (setup.engine.num_tokens(first) < 12) {
        setup.engine.advance(0, {});
    }
    setup.engine.park(first);
    setup.engine.run(first, false);
    setup.engine.run(second, false);
    setup.finish();
    CHECK(setup.engine.tokens(first) == setup.alone(0, 30));
    CHECK(setup.engine.tokens(second) == setup.engine.tokens(first));
}
