// A reproducible engine over a llama.cpp whose logits depend on everything that they should not depend on.

#include "core/engine.h"
#include "stub_llama.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

using namespace arts;

namespace {

struct Found {
    std::vector<std::vector<Token>> tokens;
    std::vector<float> log_probs;
    bool operator==(const Found & other) const { return tokens == other.tokens && log_probs == other.log_probs; }
};

struct Setup {
    explicit Setup(bool is_reproducible, std::uint32_t num_cells = 512) : context(stub_options(num_cells)), engine(stub::api(), context.handle(), options(is_reproducible)) {
        sampling->logit_bias = {{stub::blank_line, 2.0f}};
    }

    static stub::Options stub_options(std::uint32_t num_cells) {
        stub::Options options;
        options.num_cells = num_cells;
        options.sloppiness = 0.5f;
        return options;
    }

    static EngineOptions options(bool is_reproducible) {
        EngineOptions options;
        options.max_trace_tokens = 60;
        options.max_prefill_rows = 7;
        options.num_sequences = 16;
        options.max_rows = 8;
        options.is_reproducible = is_reproducible;
        return options;
    }

    // Searches one problem: main traces, of which the even ones fork at every other step; all are parked once, and come
    // back by one large prefill. Leaves no branch behind.
    // `max_seconds` is for each advance; with `follows_steps` the odd ones pause at their steps too, for nothing.
    Found search(std::uint64_t problem, double max_seconds = -1, bool follows_steps = false) {
        std::vector<Token> prompt(20);
        for (std::size_t i = 0; i < prompt.size(); ++i) {
            prompt[i] = static_cast<Token>((problem * 7 + i * i) % 26);
        }
        if (quota >= 0) {
            engine.set_quota(0, quota);
        }
        std::vector<BranchId> branches;
        for (std::uint64_t stream = 0; stream < 6; ++stream) {
            branches.push_back(engine.open(prompt, sampling, rules, problem, stream, 35, 0));
            engine.run(branches.back(), stream % 2 == 0 || follows_steps);
        }
        const std::vector<BranchId> mains = branches;
        bool has_parked = false;
        for (auto events = engine.advance(max_seconds, {}); !events.empty(); events = engine.advance(max_seconds, {})) {
            engine.check();
            for (const Event & event : events) {
                if (event.kind != EventKind::StepEnded) {
                    continue;
                }
                const auto main = std::find(mains.begin(), mains.end(), event.branch);
                if (!std::exchange(has_parked, true)) {
                    for (const BranchId branch : mains) {
                        if (engine.state(branch) != BranchState::Ended) {
                            const bool is_watched = (branch - mains.front()) % 2 == 0 || follows_steps;
                            engine.park(branch);
                            engine.run(branch, is_watched);
                        }
                    }
                }
                if ((main - mains.begin()) % 2 == 0 && engine.boundaries(event.branch).size() % 2 == 0) {
                    branches.push_back(engine.fork(event.branch, event.position));
                    engine.run(branches.back(), false);
                }
                engine.run(event.branch, true);
            }
        }
        Found found;
        std::vector<float> ignored;
        for (const BranchId branch : branches) {
            found.tokens.push_back(engine.tokens(branch));
            engine.log_probs(branch, found.log_probs, ignored);
            engine.close(branch);
        }
        return found;
    }

    std::int64_t quota = -1; // of tokens in one search; -1: none
    stub::Context context;
    Engine engine;
    std::shared_ptr<SamplingParams> sampling = std::make_shared<SamplingParams>();
    std::shared_ptr<StepRules> rules = std::make_shared<StepRules>(StepRules{{"\n\n"}, 1, {}});
};

} // namespace

TEST_CASE("a problem's traces do not depend on what was searched before it") {
    for (const std::uint32_t num_cells : {512u, 100u}) { // with room for all branches, and with much parking
        Setup alone(true, num_cells), later(true, num_cells);
        const Found found = alone.search(3);
        REQUIRE(found.tokens.size() > 6);
        for (const std::uint64_t problem : {1, 2, 4}) {
            CHECK(!(later.search(problem) == found));
        }
        CHECK(later.search(3) == found);
        CHECK(alone.search(3) == found);
        CHECK((alone.engine.stats().num_parked > 12) == (num_cells == 100));
    }
}

TEST_CASE("a problem's traces do not depend on when a call of advance runs out of time") {
    for (const std::uint32_t num_cells : {512u, 70u}) {
        Setup patient(true, num_cells), hasty(true, num_cells);
        for (const std::uint64_t problem : {1, 2, 3, 4, 5, 6}) {
            CHECK(patient.search(problem) == hasty.search(problem, 0));
        }
    }
}

TEST_CASE("a problem's traces do not depend on who watches its steps") {
    for (const std::int64_t quota : {-1, 61, 74}) {
        Setup blind(true), watched(true);
        blind.quota = watched.quota = quota;
        for (const std::uint64_t problem : {1, 2, 3, 4, 5, 6}) {
            CHECK(blind.search(problem) == watched.search(problem, -1, true));
        }
    }
}

TEST_CASE("a search that is given up leaves no trace in the next one") {
    Setup alone(true), later(true);
    const std::vector<Token> prompt{5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    const BranchId first = later.engine.open(prompt, later.sampling, later.rules, 1, 0, 30, 0);
    const BranchId second = later.engine.open(prompt, later.sampling, later.rules, 1, 1, 30, 0);
    later.engine.run(first, false);
    later.engine.run(second, false);
    for (int i = 0; i < 12; ++i) {
        later.engine.advance(0, {});
    }
    later.engine.close(second);
    later.engine.close(first);
    CHECK(alone.search(2) == later.search(2));
}

TEST_CASE("the stub tells whether an engine is reproducible: an ordinary one is not") {
    Setup patient(false), hasty(false), watched(false);
    bool differs = false;
    for (const std::uint64_t problem : {1, 2, 3}) {
        const Found found = patient.search(problem);
        differs = differs || !(found == hasty.search(problem, 0)) || !(found == watched.search(problem, -1, true));
    }
    CHECK(differs);
}
