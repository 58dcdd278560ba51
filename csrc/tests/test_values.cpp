// Values of prefixes, read while generating and off given tokens, against the stub's own hidden states.

#include "core/engine.h"
#include "core/error.h"
#include "stub_llama.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

using namespace arts;

namespace {

constexpr float bias = 0.25f;
const std::vector<float> weight{0.5f, -1.0f, 2.0f, 0.125f, 1.0f, -0.75f};

stub::Options cells(std::uint32_t num_cells, std::uint32_t num_sequences = 16) {
    stub::Options options;
    options.num_cells = num_cells;
    options.num_sequences = num_sequences;
    return options;
}

EngineOptions rows(std::int32_t max_rows, const stub::Options & stub_options = {}) {
    EngineOptions options;
    options.max_trace_tokens = 60;
    options.max_prefill_rows = 7;
    options.num_sequences = static_cast<std::int32_t>(stub_options.num_sequences);
    options.max_rows = max_rows;
    options.tunes_rows = false;
    return options;
}

struct Setup {
    explicit Setup(const stub::Options & stub_options = {}, std::int32_t max_rows = 8) : Setup(stub_options, rows(max_rows, stub_options)) {}
    Setup(const stub::Options & stub_options, const EngineOptions & options) : context(stub_options), engine(stub::api(), context.handle(), options) {
        sampling->logit_bias = {{stub::blank_line, 2.0f}};
    }

    BranchId open(const std::vector<Token> & tokens, std::uint64_t stream = 0, std::int32_t max_tokens = 30) {
        return engine.open(tokens, sampling, rules, 1, stream, max_tokens, 0);
    }

    std::vector<Event> finish() {
        std::vector<Event> all;
        for (auto events = engine.advance(-1, {}); !events.empty(); events = engine.advance(-1, {})) {
            all.insert(all.end(), events.begin(), events.end());
            engine.check();
        }
        return all;
    }

    // What the head says of the first tokens of a branch, computed by hand.
    double truth(BranchId branch, std::int32_t position) {
        auto tokens = engine.tokens(branch);
        tokens.resize(static_cast<std::size_t>(position));
        const auto state = stub::Context::state(context.options, tokens);
        double sum = static_cast<double>(bias);
        for (std::size_t i = 0; i < state.size(); ++i) {
            sum += static_cast<double>(weight[i]) * static_cast<double>(state[i]);
        }
        return sum;
    }

    void check_values(BranchId branch, const std::vector<std::int32_t> & positions) {
        const auto values = engine.values(branch, positions);
        REQUIRE(values.size() == positions.size());
        for (std::size_t i = 0; i < positions.size(); ++i) {
            CHECK(values[i] == doctest::Approx(truth(branch, positions[i])).epsilon(1e-12));
        }
    }

    stub::Context context;
    Engine engine;
    std::shared_ptr<SamplingParams> sampling = std::make_shared<SamplingParams>();
    std::shared_ptr<StepRules> rules = std::make_shared<StepRules>(StepRules{{"\n\n"}, 1, {}});
};

std::vector<Token> letters(std::size_t count, Token first = 0) {
    std::vector<Token> tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
        tokens[i] = (first + static_cast<Token>(i * i)) % 26;
    }
    return tokens;
}

template <typename Call>
ErrorCode code_of(const Call & call) {
    try {
        call();
    } catch (const Error & error) {
        return error.code();
    }
    return ErrorCode::Internal;
}

} // namespace

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

TEST_CASE("any order of calls loses no value and no token") {
    for (unsigned seed = 0; seed < 150; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); };
        const stub::Options stub_options = cells(seed % 3 == 0 ? 90 : 600, seed % 2 == 0 ? 4 : 16);
        EngineOptions options = rows(seed % 2 == 0 ? 2 : 4, stub_options);
        options.pins_cells = seed % 5 == 0;
        Setup setup(stub_options, options);
        CAPTURE(seed);
        const bool has_head = seed % 4 != 3;
        if (has_head) {
            setup.engine.set_linear_head(weight, bias);
        }
        std::map<BranchId, std::vector<Token>> expected;
        std::map<BranchId, std::set<std::int32_t>> marked; // to be known once the branch no longer runs
        for (int i = 0; i < 150; ++i) {
            if (expected.empty() || pick(6) == 0) {
                const auto tokens = letters(1 + pick(9), static_cast<Token>(pick(2)));
                expected[setup.open(tokens, static_cast<std::uint64_t>(i), 25)] = tokens;
                continue;
            }
            auto chosen = std::next(expected.begin(), static_cast<std::ptrdiff_t>(pick(expected.size())));
            const BranchId branch = chosen->first;
            const auto length = static_cast<std::int32_t>(chosen->second.size());
            switch (pick(9)) {
                case 0:
                    setup.engine.close(branch);
                    expected.erase(chosen);
                    marked.erase(branch);
                    break;
                case 1: {
                    setup.engine.pause(branch);
                    const auto position = 1 + static_cast<std::int32_t>(pick(static_cast<std::size_t>(length)));
                    setup.engine.truncate(branch, position);
                    chosen->second.resize(static_cast<std::size_t>(position));
                    marked[branch].erase(marked[branch].upper_bound(position), marked[branch].end());
                    break;
                }
                case 2: setup.engine.park(branch); break;
                case 3: {
                    const auto position = 1 + static_cast<std::int32_t>(pick(static_cast<std::size_t>(length)));
                    if (position < length) {
                        const BranchId child = setup.engine.fork(branch, position);
                        expected[child] = {chosen->second.begin(), chosen->second.begin() + position};
                    }
                    break;
                }
                case 4: setup.engine.pause(branch); break;
                case 5:
                case 6: {
                    setup.engine.pause(branch);
                    const bool has_ended = setup.engine.state(branch) == BranchState::Ended;
                    const auto given = has_ended ? std::vector<Token>{} : letters(pick(static_cast<std::size_t>(std::min(12, 61 - length))), static_cast<Token>(pick(3)));
                    std::vector<std::int32_t> marks;
                    for (std::size_t count = pick(4); count > 0 && has_head; --count) {
                        marks.push_back(1 + static_cast<std::int32_t>(pick(static_cast<std::size_t>(length) + given.size())));
                    }
                    setup.engine.append(branch, given, marks, pick(3) == 0);
                    chosen->second.insert(chosen->second.end(), given.begin(), given.end());
                    marked[branch].insert(marks.begin(), marks.end());
                    setup.engine.advance(pick(3) == 0 ? 0.0 : -1.0, {});
                    break;
                }
                default:
                    setup.engine.pause(branch);
                    if (setup.engine.state(branch) != BranchState::Ended) {
                        setup.engine.run(branch, pick(2) == 0);
                    }
                    setup.engine.advance(pick(3) == 0 ? 0.0 : -1.0, {});
            }
            setup.engine.check();
            CHECK(setup.engine.stats().num_cells_used == static_cast<std::int64_t>(setup.context.num_used()));
            CHECK(setup.engine.stats().num_cells_high_water == static_cast<std::int64_t>(setup.context.high_water()));
            for (auto & [id, tokens] : expected) {
                const auto now = setup.engine.tokens(id);
                REQUIRE(now.size() >= tokens.size());
                CHECK(std::equal(tokens.begin(), tokens.end(), now.begin()));
                tokens = now;
                for (std::int32_t position = 1; position <= static_cast<std::int32_t>(now.size()); ++position) {
                    const double value = setup.engine.values(id, {position})[0];
                    CHECK((std::isnan(value) || value == doctest::Approx(setup.truth(id, position)).epsilon(1e-12)));
                }
            }
        }
        for (auto & [id, tokens] : expected) { // what was interrupted is taken up again
            setup.engine.pause(id);
            setup.engine.append(id, {}, {}, false);
        }
        setup.finish();
        for (auto & [id, tokens] : expected) {
            setup.check_values(id, {marked[id].begin(), marked[id].end()});
            setup.engine.close(id);
        }
        setup.engine.check();
        CHECK(setup.context.num_used() == 0);
        CHECK(setup.engine.stats().num_sequences_used == 0);
    }
}
