// Traces that go along what others drew before, while other prefixes are being brought back into the cache.

#include "core/engine.h"
#include "core/rng.h"
#include "stub_llama.h"

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

using namespace arts;

namespace {

// Questions of several traces each, whose forks start wherever a step has ended: trees, as `arts-lite sdf` grows them.
struct Forest {
    static constexpr std::int32_t max_tokens = 40;

    Forest(unsigned seed, std::uint32_t num_cells, float sharpness)
        : random(seed), context(options_of(num_cells, sharpness)), engine(stub::api(), context.handle(), engine_options()) {
        sampling->temperature = 0.7f;
    }

    static stub::Options options_of(std::uint32_t num_cells, float sharpness) {
        stub::Options options;
        options.num_cells = num_cells;
        options.sharpness = sharpness;
        return options;
    }

    static EngineOptions engine_options() {
        EngineOptions options;
        options.max_trace_tokens = 60;
        options.max_prefill_rows = 7;
        options.num_sequences = 16;
        options.max_rows = 8;
        return options;
    }

    static std::vector<Token> prompt_of(std::int64_t owner) {
        std::vector<Token> tokens;
        for (std::int32_t i = 0; i < 12; ++i) {
            tokens.push_back(static_cast<Token>((owner * 7 + i * (owner + 1)) % 26));
        }
        return tokens;
    }

    void open(std::int64_t owner, std::uint64_t num_traces) {
        for (std::uint64_t stream = 0; stream < num_traces; ++stream) {
            const BranchId id = engine.open(prompt_of(owner), sampling, rules, 1, stream, max_tokens, owner);
            mains.push_back({id, owner, stream});
            engine.run(id, false);
        }
    }

    // What a main trace must hold.
    std::vector<Token> alone(std::int64_t owner, std::uint64_t stream) const {
        Sampler sampler;
        std::vector<Token> tokens = prompt_of(owner);
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

    void fork(BranchId id) {
        for (const std::int32_t boundary : engine.boundaries(id)) {
            if (random() % 2 == 0 && num_forks < 200) {
                engine.run(engine.fork(id, boundary), false);
                ++num_forks;
            }
        }
    }

    struct Main {
        BranchId id;
        std::int64_t owner;
        std::uint64_t stream;
    };
    std::mt19937 random;
    stub::Context context;
    Engine engine;
    std::shared_ptr<SamplingParams> sampling = std::make_shared<SamplingParams>();
    std::shared_ptr<StepRules> rules = std::make_shared<StepRules>(StepRules{{"\n\n", "\n", " "}, 1, {}});
    std::vector<Main> mains;
    std::size_t num_forks = 0;
};

} // namespace

TEST_CASE("trees that do not fit into the cache together are grown as if each were alone") {
    for (unsigned seed = 0; seed < 120; ++seed) {
        CAPTURE(seed);
        Forest forest(seed, 90 + 20 * (seed % 5), 4.0f + 3.0f * static_cast<float>(seed % 4));
        for (std::int64_t owner = 0; owner < 6; ++owner) {
            forest.open(owner, 4);
        }
        std::size_t num_calls = 0;
        for (auto events = forest.engine.advance(-1, {}); !events.empty(); events = forest.engine.advance(-1, {})) {
            REQUIRE_NOTHROW(forest.engine.check());
            REQUIRE(++num_calls < 20'000);
            for (const Event & event : events) {
                if (event.kind == EventKind::TraceEnded) {
                    forest.fork(event.branch);
                } else if (event.kind == EventKind::CachePressure && forest.engine.state(event.branch) == BranchState::Paused) {
                    forest.engine.run(event.branch, false);
                }
            }
        }
        for (const auto & main : forest.mains) {
            CHECK(forest.engine.tokens(main.id) == forest.alone(main.owner, main.stream));
        }
    }
}
