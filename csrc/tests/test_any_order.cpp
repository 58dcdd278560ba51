// Any calls in any order.

#include "engine_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace engine_tests;

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
