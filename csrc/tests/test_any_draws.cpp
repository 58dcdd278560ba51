// Any calls in any order, with several owners, interrupts and refused batches: every branch holds what it would have drawn alone.

#include "core/error.h"
#include "engine_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace engine_tests;

namespace {

// Branches of a small engine, each beside its own record of what it must hold.
struct Crowd {
    struct Known {
        std::vector<Token> tokens;
        std::uint64_t stream;
        std::shared_ptr<SamplingParams> sampling;
        std::map<std::int32_t, std::uint32_t> num_forks_at;
    };

    explicit Crowd(unsigned seed) : random(seed), setup(stub_options(seed), engine_options(seed)), may_fail(seed % 5 == 0) {
        const auto greedy = std::make_shared<SamplingParams>(), flat = std::make_shared<SamplingParams>();
        greedy->temperature = 0;
        flat->temperature = flat->top_p = 1;
        kinds = {setup.sampling, greedy, flat};
        for (const auto & sampling : kinds) {
            sampling->logit_bias = {{stub::blank_line, 3.0f}};
        }
    }

    static stub::Options stub_options(unsigned seed) {
        stub::Options options;
        options.num_cells = seed % 3 == 0 ? 80 : seed % 3 == 1 ? 130 : 500;
        options.num_sequences = seed % 2 == 0 ? 8 : 16;
        options.sharpness = seed % 4 == 0 ? 3.0f : 15.0f; // mostly, traces have long beginnings in common
        return options;
    }

    static EngineOptions engine_options(unsigned seed) {
        EngineOptions options;
        options.num_sequences = seed % 2 == 0 ? 8 : 16;
        options.max_rows = 1 + static_cast<std::int32_t>(seed % 4);
        options.pins_cells = seed % 7 == 0;
        options.is_reproducible = seed % 4 == 1;
        return options;
    }

    std::size_t pick(std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); }

    void open(std::uint64_t stream) {
        const std::vector<Token> tokens(prompt.begin(), prompt.begin() + 1 + static_cast<std::ptrdiff_t>(pick(4)));
        setup.sampling = kinds[pick(3)];
        const BranchId id = setup.open(stream, 1 + static_cast<std::int32_t>(pick(45)), static_cast<std::int64_t>(pick(3)), tokens);
        known[id] = {tokens, child_stream(1, stream, 0, 0), setup.sampling, {}};
    }

    void fork(BranchId id, std::int32_t position) {
        Known & parent = known[id];
        if (position >= static_cast<std::int32_t>(parent.tokens.size())) {
            return;
        }
        const auto stream = child_stream(1, parent.stream, static_cast<std::uint32_t>(position), parent.num_forks_at[position]++);
        known[setup.engine.fork(id, position)] = {{parent.tokens.begin(), parent.tokens.begin() + position}, stream, parent.sampling, {}};
    }

    void truncate(BranchId id, std::int32_t position) {
        setup.engine.pause(id);
        setup.engine.truncate(id, position);
        known[id].tokens.resize(static_cast<std::size_t>(position));
    }

    void run_some() {
        for (const auto & [id, _] : known) {
            if (pick(3) > 0 && setup.engine.state(id) != BranchState::Ended) {
                setup.engine.run(id, pick(3) == 0);
            }
        }
        for (std::size_t count = 1 + pick(5); count > 0; --count) {
            std::size_t num_polls = pick(5) == 0 ? pick(6) : 1000; // then comes the interrupt
            setup.context.fail_next_with = may_fail && pick(8) == 0 ? -3 : 0;
            try {
                setup.engine.advance(pick(3) == 0 ? 0.0 : -1.0, [&] { return num_polls-- == 0; });
            } catch (const Error & error) {
                REQUIRE((may_fail && error.code() == ErrorCode::Decode));
            }
        }
        setup.context.fail_next_with = 0;
    }

    void act(std::uint64_t step) {
        if (known.empty() || pick(5) == 0) {
            return open(step);
        }
        const BranchId id = std::next(known.begin(), static_cast<std::ptrdiff_t>(pick(known.size())))->first;
        const auto position = 1 + static_cast<std::int32_t>(pick(known[id].tokens.size()));
        switch (pick(10)) {
            case 0:
                setup.engine.close(id);
                known.erase(id);
                break;
            case 1: truncate(id, position); break;
            case 2: setup.engine.park(id); break;
            case 3:
            case 4: fork(id, position); break;
            case 5: setup.engine.pause(id); break;
            case 6: setup.engine.set_quota(static_cast<std::int64_t>(pick(3)), static_cast<std::int64_t>(pick(200))); break;
            default: run_some();
        }
    }

    void check() {
        setup.engine.check();
        for (auto & [id, branch] : known) {
            const auto tokens = setup.engine.tokens(id);
            REQUIRE(tokens.size() >= branch.tokens.size());
            while (branch.tokens.size() < tokens.size()) {
                const auto logits = stub::Context::logits(setup.context.options, branch.tokens);
                const auto & candidates = sampler.filter(logits.data(), logits.size(), *branch.sampling, {});
                branch.tokens.push_back(draw(candidates, uniform(1, branch.stream, static_cast<std::uint32_t>(branch.tokens.size()))).token);
            }
            REQUIRE(branch.tokens == tokens);
        }
    }

    std::mt19937 random;
    Setup setup;
    bool may_fail;
    Sampler sampler;
    std::vector<std::shared_ptr<SamplingParams>> kinds;
    std::map<BranchId, Known> known;
};

} // namespace

TEST_CASE("any order of calls leaves every branch with its own draws") {
    std::int64_t num_parked = 0, num_redecoded = 0;
    for (unsigned seed = 0; seed < 120; ++seed) {
        CAPTURE(seed);
        Crowd crowd(seed);
        for (std::uint64_t step = 0; step < 100; ++step) {
            crowd.act(step);
            crowd.check();
        }
        for (const auto & [id, _] : crowd.known) {
            crowd.setup.engine.close(id);
        }
        CHECK(crowd.setup.context.num_used() == 0);
        num_parked += crowd.setup.engine.stats().num_parked;
        num_redecoded += crowd.setup.engine.stats().num_tokens_redecoded;
    }
    CHECK(num_parked > 1000);
    CHECK(num_redecoded > 1000);
}
