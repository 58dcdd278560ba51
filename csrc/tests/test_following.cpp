// Traces that go along what others drew before, while other prefixes are being brought back into the cache.

#include "engine_setup.h"

#include <doctest/doctest.h>

#include <random>
#include <tuple>
#include <vector>

using namespace arts;
using namespace engine_tests;

namespace {

constexpr std::int32_t max_tokens = 40;

std::vector<Token> prompt_of(std::int64_t owner) {
    std::vector<Token> tokens;
    for (std::int32_t i = 0; i < 12; ++i) {
        tokens.push_back(static_cast<Token>((owner * 7 + i * (owner + 1)) % 26));
    }
    return tokens;
}

} // namespace

// Questions of several traces each, whose forks start wherever a step has ended, as `arts-lite sdf` grows them.
TEST_CASE("trees that do not fit into the cache together are grown as if each were alone") {
    for (unsigned seed = 0; seed < 120; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        stub::Options small;
        small.num_cells = 90 + 20 * (seed % 5);
        small.sharpness = 4.0f + 3.0f * static_cast<float>(seed % 4);
        Setup setup(small);
        setup.sampling->temperature = 0.7f;
        setup.rules = std::make_shared<StepRules>(StepRules{{"\n\n", "\n", " "}, 1, {}});
        std::vector<std::tuple<BranchId, std::int64_t, std::uint64_t>> mains;
        for (std::int64_t owner = 0; owner < 6; ++owner) {
            for (std::uint64_t stream = 0; stream < 4; ++stream) {
                mains.emplace_back(setup.open(stream, max_tokens, owner, prompt_of(owner)), owner, stream);
                setup.engine.run(std::get<0>(mains.back()), false);
            }
        }
        std::size_t num_calls = 0;
        std::size_t num_forks = 0;
        for (auto events = setup.engine.advance(-1, {}); !events.empty(); events = setup.engine.advance(-1, {})) {
            REQUIRE_NOTHROW(setup.engine.check());
            REQUIRE(++num_calls < 20'000);
            for (const Event & event : events) {
                if (event.kind != EventKind::TraceEnded) {
                    continue;
                }
                for (const std::int32_t boundary : setup.engine.boundaries(event.branch)) {
                    if (random() % 2 == 0 && num_forks < 200) {
                        setup.engine.run(setup.engine.fork(event.branch, boundary), false);
                        ++num_forks;
                    }
                }
            }
        }
        for (const auto & [branch, owner, stream] : mains) {
            CHECK(setup.engine.state(branch) == BranchState::Ended);
            CHECK(setup.engine.tokens(branch) == setup.alone(stream, max_tokens, prompt_of(owner)));
        }
    }
}
