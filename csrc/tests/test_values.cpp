// Values of prefixes that are read while they are generated, against the stub's own hidden states.

#include "values_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

using namespace value_tests;

TEST_CASE("a head reads every step and every end as they are generated, and changes neither draws nor decodes") {
    Setup plain, valued;
    valued.engine.set_linear_head(weight, bias);
    std::vector<BranchId> branches;
    for (Setup * setup : {&plain, &valued}) {
        branches.clear();
        for (std::uint64_t stream = 0; stream < 12; ++stream) {
            branches.push_back(setup->open(letters(20), stream));
            setup->engine.run(branches.back(), false);
        }
        setup->finish();
    }
    std::size_t num_steps = 0;
    for (const BranchId branch : branches) {
        CHECK(valued.engine.tokens(branch) == plain.engine.tokens(branch));
        const auto boundaries = valued.engine.boundaries(branch);
        CHECK(boundaries == plain.engine.boundaries(branch));
        const auto values = valued.engine.step_values(branch);
        REQUIRE(values.size() == boundaries.size() + 1);
        valued.check_values(branch, boundaries);
        CHECK(values.back() == doctest::Approx(valued.truth(branch, valued.engine.num_tokens(branch) - 1)));
        valued.check_values(branch, {20}); // the prompt's end comes for nothing, too
        num_steps += boundaries.size();
    }
    CHECK(num_steps > 5);
    CHECK(valued.context.num_decodes == plain.context.num_decodes);
    CHECK(valued.context.num_outputs == plain.context.num_outputs); // a prompt's tokens are no outputs
}

TEST_CASE("a step's event comes with its value, for no row more") {
    const auto run = [](Setup & setup, bool has_head) {
        if (has_head) {
            setup.engine.set_linear_head(weight, bias);
        }
        std::vector<std::vector<Token>> traces;
        for (std::uint64_t stream = 0; stream < 6; ++stream) {
            setup.engine.run(setup.open(letters(9), stream), true);
        }
        std::size_t num_steps = 0;
        for (auto events = setup.engine.advance(-1, {}); !events.empty(); events = setup.engine.advance(-1, {})) {
            for (const Event & event : events) {
                if (event.kind == EventKind::StepEnded) {
                    ++num_steps;
                    CHECK(event.position == setup.engine.num_tokens(event.branch));
                    CHECK(setup.engine.boundaries(event.branch).back() == event.position);
                    CHECK(setup.engine.state(event.branch) == BranchState::Paused);
                    if (has_head) {
                        setup.check_values(event.branch, {event.position});
                        CHECK(setup.engine.step_values(event.branch).size() == setup.engine.boundaries(event.branch).size());
                    }
                    setup.engine.run(event.branch, true);
                }
            }
            setup.engine.check();
        }
        CHECK(num_steps > 3);
        for (BranchId branch = 0; branch < 6; ++branch) {
            traces.push_back(setup.engine.tokens(branch));
        }
        return traces;
    };
    for (const bool is_unfiltered : {false, true}) {
        stub::Options options;
        options.num_vocab = is_unfiltered ? 1100 : 40; // too many candidates to keep
        options.sharpness = is_unfiltered ? 12.0f : 3.0f;
        Setup plain(options), valued(options);
        for (Setup * setup : {&plain, &valued}) {
            setup->sampling->top_p = is_unfiltered ? 1.0f : 0.95f;
            setup->sampling->logit_bias = {{stub::blank_line, is_unfiltered ? 6.0f : 2.0f}};
        }
        CHECK(run(plain, false) == run(valued, true));
        CHECK(valued.engine.stats().num_tokens_decoded == plain.engine.stats().num_tokens_decoded);
        CHECK(valued.engine.stats().num_tokens_redecoded == 0);
    }
}

TEST_CASE("forks inherit the values before the fork, and read their own behind it") {
    Setup setup;
    setup.engine.set_linear_head(weight, bias);
    const BranchId main = setup.open(letters(5), 0, 40);
    setup.engine.run(main, false);
    setup.finish();
    const auto boundaries = setup.engine.boundaries(main);
    REQUIRE(boundaries.size() >= 2);
    const BranchId child = setup.engine.fork(main, boundaries[1]);
    const auto before = setup.engine.values(main, {boundaries[0], boundaries[1]});
    CHECK(setup.engine.step_values(child) == before);
    setup.engine.run(child, false);
    setup.finish();
    setup.check_values(child, setup.engine.boundaries(child));
    setup.engine.park(child);
    CHECK(setup.engine.values(child, {boundaries[0], boundaries[1]}) == before);
    setup.engine.close(main);
    CHECK(setup.engine.values(child, {boundaries[0], boundaries[1]}) == before);
    setup.engine.truncate(child, boundaries[0]);
    CHECK(setup.engine.step_values(child) == std::vector<double>{before[0]});
}

TEST_CASE("whose step's end was read before does not wait for it, although its tokens are in the cache no more") {
    Setup setup(cells(64));
    setup.engine.set_linear_head(weight, bias);
    setup.sampling->temperature = 0; // all draw the same
    const auto prompt = letters(4);
    const BranchId first = setup.open(prompt, 0, 40);
    setup.engine.run(first, false);
    setup.finish();
    const auto boundaries = setup.engine.boundaries(first);
    REQUIRE(!boundaries.empty());
    const BranchId other = setup.open(letters(50, 1));
    setup.engine.append(other, {}, {}, false);
    setup.finish();
    REQUIRE(setup.engine.num_cached(first) < boundaries.front());
    const auto before = setup.engine.stats().num_tokens_redecoded;
    const BranchId second = setup.open(prompt, 1, 40);
    setup.engine.run(second, true);
    const auto events = setup.engine.advance(-1, {});
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::StepEnded);
    CHECK(events[0].position == boundaries.front());
    setup.check_values(second, {boundaries.front()});
    CHECK(setup.engine.stats().num_tokens_redecoded - before <= 4); // the prompt's
    setup.finish();
    setup.engine.run(second, false);
    setup.finish();
    CHECK(setup.engine.tokens(second) == setup.engine.tokens(first));
}

TEST_CASE("the logit of a token can be the value; it is then never drawn") {
    Setup setup;
    const Token slot = 5;
    setup.engine.set_token_head(slot, bias);
    setup.sampling->logit_bias.push_back({slot, 50.0f});
    const BranchId branch = setup.open(letters(8), 0, 40), given = setup.open(letters(8), 1);
    setup.engine.run(branch, false);
    setup.engine.append(given, letters(20, 2), {9, 14, 28}, false);
    setup.finish();
    const auto tokens = setup.engine.tokens(branch);
    CHECK(std::count(tokens.begin() + 8, tokens.end(), slot) == 0);
    const auto logit = [&](BranchId b, std::int32_t position) {
        auto prefix = setup.engine.tokens(b);
        prefix.resize(static_cast<std::size_t>(position));
        return static_cast<double>(stub::Context::logits(setup.context.options, prefix)[slot]) + static_cast<double>(bias);
    };
    for (const std::int32_t position : {9, 14, 28}) {
        CHECK(setup.engine.values(given, {position})[0] == doctest::Approx(logit(given, position)));
    }
    for (const std::int32_t boundary : setup.engine.boundaries(branch)) {
        CHECK(setup.engine.values(branch, {boundary})[0] == doctest::Approx(logit(branch, boundary)));
    }
    CHECK_FALSE(setup.context.has_embeddings); // only marked rows are outputs
    setup.sampling->logit_bias.clear();
    for (Token token = 0; token < setup.context.options.num_vocab; ++token) {
        if (token != slot) {
            setup.sampling->logit_bias.push_back({token, -std::numeric_limits<float>::infinity()});
        }
    }
    CHECK(code_of([&] { setup.open(letters(3)); }) == ErrorCode::InvalidArgument);
}
