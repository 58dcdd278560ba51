// Given tokens: decoded in one go, and read where they are marked.

#include "values_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace value_tests;

TEST_CASE("appended tokens are decoded once for all branches that share them, and read where they are marked") {
    Setup setup;
    setup.engine.set_linear_head(weight, bias);
    const BranchId main = setup.open(letters(10));
    setup.engine.append(main, letters(12, 3), {10, 15, 22}, false);
    auto events = setup.finish();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::Appended);
    CHECK(events[0].branch == main);
    CHECK(events[0].position == 22);
    setup.check_values(main, {10, 15, 22});
    CHECK(std::isnan(setup.engine.values(main, {16})[0]));
    CHECK(setup.engine.state(main) == BranchState::Paused);
    CHECK(setup.engine.stats().num_cells_used == 22);

    std::vector<BranchId> children;
    for (Token i = 0; i < 12; ++i) {
        children.push_back(setup.engine.fork(main, 15));
        setup.engine.append(children.back(), letters(8, i), {23}, false);
    }
    events = setup.finish();
    CHECK(events.size() == 12);
    for (const BranchId child : children) {
        setup.check_values(child, {10, 15, 23});
    }
    CHECK(setup.engine.stats().num_tokens_prefilled == 22 + 12 * 8 - 1); // one of them begins as its parent goes on
    CHECK(setup.engine.stats().num_tokens_redecoded == 0);

    const BranchId twin = setup.engine.fork(main, 15); // the same text as its sibling's: nothing is left to decode
    setup.engine.append(twin, letters(8, 5), {23}, false);
    const int num_decodes = setup.context.num_decodes;
    CHECK(setup.finish().size() == 1);
    CHECK(setup.context.num_decodes == num_decodes);
    setup.check_values(twin, {23});
    CHECK(setup.engine.boundaries(twin).empty());
    for (const BranchId branch : children) {
        setup.engine.close(branch);
    }
    setup.engine.close(main);
    setup.engine.close(twin);
    CHECK(setup.context.num_used() == 0);
}

TEST_CASE("what nobody read when it was decoded is decoded again, and the log-probabilities stay") {
    Setup setup;
    setup.engine.set_linear_head(weight, bias);
    const BranchId branch = setup.open(letters(6), 0, 20), other = setup.engine.fork(branch, 4);
    setup.engine.run(branch, false);
    setup.finish();
    std::vector<float> model, sampling, model_after, sampling_after;
    setup.engine.log_probs(branch, model, sampling);
    const auto means = setup.engine.expected_log_probs(branch);
    const auto tokens = setup.engine.tokens(branch);
    const auto length = static_cast<std::int32_t>(tokens.size());
    setup.engine.append(branch, {}, {3, 9, length}, false); // it has ended: it may not grow, but be read
    CHECK(setup.engine.state(branch) == BranchState::Running);
    auto events = setup.finish();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::Appended);
    CHECK(setup.engine.state(branch) == BranchState::Ended);
    setup.check_values(branch, {3, 9, length});
    CHECK(setup.engine.step_values(branch).back() == doctest::Approx(setup.truth(branch, length)));
    CHECK(setup.engine.tokens(branch) == tokens);
    setup.engine.log_probs(branch, model_after, sampling_after);
    CHECK(model == model_after);
    CHECK(sampling == sampling_after);
    CHECK(means == setup.engine.expected_log_probs(branch));
    CHECK(std::isnan(setup.engine.values(other, {3})[0])); // another copy of the prompt
    const auto before = setup.engine.stats();
    setup.engine.append(branch, {}, {3, 9, length}, false); // known by now
    CHECK(setup.finish().size() == 1);
    CHECK(setup.engine.stats().num_decode_calls == before.num_decode_calls);
}

TEST_CASE("hidden states are kept where asked, with a head or without") {
    for (const bool has_head : {false, true}) {
        Setup setup;
        if (has_head) {
            setup.engine.set_linear_head(weight, bias);
        }
        const BranchId branch = setup.open(letters(10));
        const std::vector<std::int32_t> marks{1, 4, 9, 10, 11, 40};
        setup.engine.append(branch, letters(30, 7), marks, true);
        CHECK(setup.finish().size() == 1);
        const auto rows = setup.engine.hidden_states(branch, marks);
        REQUIRE(rows.size() == marks.size() * 6);
        const auto tokens = setup.engine.tokens(branch);
        for (std::size_t i = 0; i < marks.size(); ++i) {
            const auto state = stub::Context::state(setup.context.options, {tokens.begin(), tokens.begin() + marks[i]});
            CHECK(std::equal(state.begin(), state.end(), rows.begin() + static_cast<std::ptrdiff_t>(6 * i)));
        }
        CHECK(code_of([&] { setup.engine.hidden_states(branch, {5}); }) == ErrorCode::InvalidArgument);
        CHECK(std::isnan(setup.engine.values(branch, {4})[0]) == !has_head);
    }
}

TEST_CASE("given tokens do not wait until generation leaves a row free") {
    Setup setup(cells(512), 2);
    setup.engine.set_linear_head(weight, bias);
    setup.sampling->logit_bias.push_back({39, -std::numeric_limits<float>::infinity()});
    for (std::uint64_t stream = 0; stream < 4; ++stream) {
        setup.engine.run(setup.open(letters(4), stream, 50), false);
    }
    CHECK(setup.engine.advance(0, {}).front().kind == EventKind::Interrupted);
    const BranchId given = setup.open(letters(9, 2));
    setup.engine.append(given, letters(9, 3), {18}, false);
    const auto events = setup.engine.advance(-1, {});
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::Appended);
    setup.check_values(given, {18});
    std::size_t num_ended = 0;
    for (const Event & event : setup.finish()) {
        num_ended += event.kind == EventKind::TraceEnded;
    }
    CHECK(num_ended == 4);
    CHECK(setup.engine.stats().num_tokens_redecoded == 0);
}

TEST_CASE("an append that was interrupted, paused, parked or refused by llama.cpp is taken up again") {
    Setup setup;
    setup.engine.set_linear_head(weight, bias);
    const BranchId branch = setup.open(letters(10), 0, 50);
    setup.engine.append(branch, letters(40, 2), {20, 50}, false);
    CHECK(setup.engine.advance(0, {}).front().kind == EventKind::Interrupted);
    setup.engine.check();
    CHECK(code_of([&] { setup.engine.run(branch, false); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { setup.engine.append(branch, {1}, {}, false); }) == ErrorCode::InvalidArgument);
    setup.engine.pause(branch);
    CHECK(setup.finish().empty());
    setup.engine.append(branch, letters(5, 1), {55}, false);
    setup.context.fail_next_with = -3;
    CHECK(code_of([&] { setup.engine.advance(-1, {}); }) == ErrorCode::Decode);
    setup.engine.park(branch);
    setup.engine.check();
    setup.engine.append(branch, {}, {}, false);
    const auto events = setup.finish();
    REQUIRE(events.size() == 1);
    CHECK(events[0].position == 55);
    setup.check_values(branch, {20, 50, 55});
    setup.engine.run(branch, false);
    setup.finish();
    CHECK(setup.engine.num_tokens(branch) >= 56);
}

TEST_CASE("wrong heads and wrong appends throw, and the engine works afterwards") {
    Setup setup;
    Engine & engine = setup.engine;
    CHECK(engine.num_embd() == 6);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(code_of([&] { engine.set_linear_head({1.0f}, 0); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.set_linear_head({}, 0); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.set_linear_head({1, 1, 1, nan, 1, 1}, 0); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.set_linear_head(weight, nan); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.set_token_head(-1, 0); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.set_token_head(40, 0); }) == ErrorCode::InvalidArgument);
    const BranchId branch = setup.open(letters(10));
    CHECK(code_of([&] { engine.set_linear_head(weight, bias); }) == ErrorCode::InvalidArgument); // a branch is open
    CHECK(code_of([&] { engine.append(branch, {}, {1}, false); }) == ErrorCode::InvalidArgument);  // no head
    CHECK(code_of([&] { engine.append(branch, {40}, {}, false); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.append(branch, {1}, {0}, true); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.append(branch, {1}, {12}, true); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.append(branch, letters(51), {}, false); }) == ErrorCode::ContextOverflow);
    CHECK(code_of([&] { engine.append(9, {1}, {}, false); }) == ErrorCode::BranchClosed);
    CHECK(code_of([&] { engine.values(branch, {0}); }) == ErrorCode::InvalidArgument);
    CHECK(code_of([&] { engine.values(branch, {11}); }) == ErrorCode::InvalidArgument);
    engine.append(branch, letters(50, 1), {60, 60, 1}, true); // up to the last token that the context holds
    CHECK(setup.finish().size() == 1);
    engine.run(branch, false);
    const auto events = setup.finish();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == EventKind::TraceEnded);
    CHECK(code_of([&] { engine.append(branch, {1}, {}, false); }) == ErrorCode::InvalidArgument);
    engine.shutdown();
    CHECK(code_of([&] { engine.remove_head(); }) == ErrorCode::BranchClosed);
    CHECK(code_of([&] { engine.append(branch, {1}, {}, false); }) == ErrorCode::BranchClosed);
    CHECK(code_of([&] { engine.values(branch, {1}); }) == ErrorCode::BranchClosed);
}
