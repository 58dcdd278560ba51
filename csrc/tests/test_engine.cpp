#include "core/engine.h"
#include "core/error.h"
#include "core/rng.h"
#include "stub_llama.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <thread>

using namespace arts;

namespace {

const std::vector<Token> prompt{0, 1, 2, 3, 4};

struct Setup {
    explicit Setup(stub::Options stub_options = {}, EngineOptions options = {}) : context(stub_options), engine(stub::api(), context.handle(), completed(options)) {}

    static EngineOptions completed(EngineOptions options) {
        if (options.max_trace_tokens == 0) {
            options.max_trace_tokens = 60;
        }
        options.max_prefill_rows = 7;
        options.num_sequences = options.num_sequences == 256 ? 16 : options.num_sequences;
        options.max_rows = options.max_rows == 16 ? 8 : options.max_rows;
        return options;
    }

    BranchId open(std::uint64_t stream, std::int32_t max_tokens = 30, std::int64_t owner = 0, const std::vector<Token> & tokens = prompt) {
        return engine.open(tokens, sampling, rules, 1, stream, max_tokens, owner);
    }

    // Runs everything that is running to its end; returns the events.
    std::vector<Event> finish() {
        std::vector<Event> all;
        for (auto events = engine.advance(-1, {}); !events.empty(); events = engine.advance(-1, {})) {
            all.insert(all.end(), events.begin(), events.end());
            engine.check();
        }
        return all;
    }

    // What a branch must hold: draws from the model's own rows, one token after another, without any batching.
    std::vector<Token> alone(std::uint64_t stream, std::int32_t max_tokens, std::vector<Token> tokens = prompt) const {
        Sampler sampler;
        const auto key = child_stream(1, stream, 0, 0);
        for (std::int32_t i = 0; i < max_tokens; ++i) {
            const auto logits = stub::Context::logits(context.options, tokens);
            const auto & candidates = sampler.filter(logits.data(), logits.size(), *sampling, tokens);
            tokens.push_back(draw(candidates, uniform(1, key, static_cast<std::uint32_t>(tokens.size()))).token);
            if (tokens.back() == context.options.num_vocab - 1) {
                break;
            }
        }
        return tokens;
    }

    stub::Context context;
    Engine engine;
    std::shared_ptr<SamplingParams> sampling = std::make_shared<SamplingParams>();
    std::shared_ptr<StepRules> rules = std::make_shared<StepRules>(StepRules{{"\n\n"}, 1, {}});
};

} // namespace

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

TEST_CASE("any order of calls keeps the books right") {
    for (unsigned seed = 0; seed < 60; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); };
        stub::Options stub_options;
        stub_options.num_cells = seed % 3 == 0 ? 90u : 400u;
        stub_options.num_sequences = seed % 2 == 0 ? 8 : 16;
        EngineOptions options;
        options.num_sequences = static_cast<std::int32_t>(stub_options.num_sequences);
        options.max_rows = 3 + static_cast<std::int32_t>(seed % 2);
        options.pins_cells = seed % 5 == 0;
        Setup setup(stub_options, options);
        const auto sharp = setup.sampling;
        const auto flat = std::make_shared<SamplingParams>();
        flat->temperature = 1.5f;
        flat->top_p = 1.0f;
        std::map<BranchId, std::vector<Token>> expected; // of paused branches
        for (int i = 0; i < 150; ++i) {
            if (expected.empty() || pick(6) == 0) {
                setup.sampling = pick(2) == 0 ? sharp : flat;
                std::vector<Token> tokens(prompt.begin(), prompt.begin() + 1 + static_cast<std::ptrdiff_t>(pick(5)));
                const BranchId branch = setup.open(static_cast<std::uint64_t>(i), 25, 0, tokens);
                expected[branch] = tokens;
                continue;
            }
            auto chosen = std::next(expected.begin(), static_cast<std::ptrdiff_t>(pick(expected.size())));
            const BranchId branch = chosen->first;
            const auto length = chosen->second.size();
            switch (pick(7)) {
                case 0:
                    setup.engine.close(branch);
                    expected.erase(chosen);
                    break;
                case 1:
                    setup.engine.pause(branch);
                    setup.engine.truncate(branch, 1 + static_cast<std::int32_t>(pick(static_cast<std::size_t>(setup.engine.num_tokens(branch)))));
                    break;
                case 2:
                    setup.engine.park(branch);
                    break;
                case 3: {
                    const auto position = 1 + static_cast<std::int32_t>(pick(length));
                    if (position < setup.engine.num_tokens(branch)) {
                        expected[setup.engine.fork(branch, position)] = {};
                    }
                    break;
                }
                case 4:
                    setup.engine.pause(branch);
                    break;
                default:
                    if (setup.engine.state(branch) != BranchState::Ended) {
                        setup.engine.run(branch, pick(2) == 0);
                    }
                    setup.engine.advance(pick(3) == 0 ? 0.0 : -1.0, {});
            }
            setup.engine.check();
            CHECK(setup.engine.stats().num_cells_used == static_cast<std::int64_t>(setup.context.num_used()));
            CHECK(setup.engine.stats().num_cells_high_water == static_cast<std::int64_t>(setup.context.high_water()));
            for (auto & [id, tokens] : expected) {
                tokens = setup.engine.tokens(id);
            }
        }
        for (const auto & [id, tokens] : expected) {
            setup.engine.close(id);
        }
        setup.engine.check();
        CHECK(setup.context.num_used() == 0);
        CHECK(setup.engine.stats().num_sequences_used == 0);
    }
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
