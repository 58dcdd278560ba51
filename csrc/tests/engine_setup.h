// An engine over the stub, for tests of branches, and what each branch must hold.
#pragma once

#include "core/engine.h"
#include "core/rng.h"
#include "stub_llama.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace engine_tests {

using namespace arts;

inline const std::vector<Token> prompt{0, 1, 2, 3, 4};

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

} // namespace engine_tests
