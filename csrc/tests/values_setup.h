// An engine over the stub with a value head, and what that head must say of each prefix.
#pragma once

#include "core/engine.h"
#include "core/error.h"
#include "stub_llama.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace value_tests {

using namespace arts;

constexpr float bias = 0.25f;
inline const std::vector<float> weight{0.5f, -1.0f, 2.0f, 0.125f, 1.0f, -0.75f};

inline stub::Options cells(std::uint32_t num_cells, std::uint32_t num_sequences = 16) {
    stub::Options options;
    options.num_cells = num_cells;
    options.num_sequences = num_sequences;
    return options;
}

inline EngineOptions rows(std::int32_t max_rows, const stub::Options & stub_options = {}) {
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

inline std::vector<Token> letters(std::size_t count, Token first = 0) {
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

} // namespace value_tests
