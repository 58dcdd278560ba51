#include "core/error.h"
#include "core/rng.h"
#include "core/row_sampler.h"
#include "core/sampling.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace arts;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<float> random_row(std::size_t size, unsigned seed, float scale = 3.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> row(size);
    std::generate(row.begin(), row.end(), [&] { return normal(random); });
    return row;
}

// The definition, in double precision and without any shortcut.
std::vector<double> reference(std::vector<float> row, const SamplingParams & params) {
    std::vector<double> p(row.size());
    std::vector<std::size_t> order(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
        p[i] = std::exp(static_cast<double>(row[i]) / params.temperature);
        order[i] = i;
    }
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p[a] > p[b]; });
    const auto normalise = [&] {
        double sum = 0;
        for (const double x : p) {
            sum += x;
        }
        for (double & x : p) {
            x /= sum;
        }
    };
    if (params.top_k > 0) {
        for (std::size_t i = static_cast<std::size_t>(params.top_k); i < order.size(); ++i) {
            p[order[i]] = 0;
        }
    }
    normalise();
    if (params.top_p < 1) {
        double sum = 0;
        for (const std::size_t i : order) {
            const bool is_past = sum >= static_cast<double>(params.top_p);
            sum += p[i];
            p[i] = is_past ? 0 : p[i];
        }
        normalise();
    }
    if (params.min_p > 0) {
        const double threshold = p[order[0]] * static_cast<double>(params.min_p);
        for (double & x : p) {
            x = x < threshold ? 0 : x;
        }
    }
    normalise();
    return p;
}

} // namespace

TEST_CASE("Philox gives the published numbers") {
    // Random123's known-answer vectors for philox4x32-10.
    CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("every combination of filters gives the distribution of its definition") {
    for (const std::size_t size : {5u, 64u, 1000u, 5000u}) {
        for (const float temperature : {0.3f, 1.0f, 1.7f}) {
            for (const int top_k : {0, 1, 3, 50, 100000}) {
                for (const float top_p : {0.1f, 0.9f, 0.999f, 1.0f}) {
                    for (const float min_p : {0.0f, 0.05f}) {
                        SamplingParams params;
                        params.temperature = temperature;
                        params.top_k = top_k;
                        params.top_p = top_p;
                        params.min_p = min_p;
                        const auto row = random_row(size, static_cast<unsigned>(size) + 7);
                        const auto expected = reference(row, params);
                        std::vector<double> found(size, 0.0);
                        double mean = 0;
                        Sampler sampler;
                        const Candidates & candidates = sampler.filter(row.data(), size, params, {});
                        for (const Candidate & candidate : candidates) {
                            const auto token = static_cast<std::size_t>(candidate.token);
                            found[token] = std::exp(static_cast<double>(candidate.log_p_sampling));
                            mean += expected[token] * static_cast<double>(candidate.log_p_model);
                        }
                        double distance = 0;
                        for (std::size_t i = 0; i < size; ++i) {
                            distance += std::abs(found[i] - expected[i]) / 2;
                        }
                        CAPTURE(size);
                        CAPTURE(temperature);
                        CAPTURE(top_k);
                        CAPTURE(top_p);
                        CAPTURE(min_p);
                        CHECK(distance < 2e-5);
                        CHECK(candidates.front().expected_log_p == doctest::Approx(mean).epsilon(1e-4));
                    }
                }
            }
        }
    }
}

TEST_CASE("the log-probability under the model ignores every filter") {
    const auto row = random_row(3000, 1);
    double sum = 0;
    for (const float logit : row) {
        sum += std::exp(static_cast<double>(logit));
    }
    SamplingParams params;
    params.top_k = 5;
    params.repeat_penalty = 1.5f;
    params.logit_bias = {{3, 2.0f}};
    Sampler sampler;
    for (const Candidate & candidate : sampler.filter(row.data(), row.size(), params, {1, 2, 3})) {
        CHECK(candidate.log_p_model == doctest::Approx(row[static_cast<std::size_t>(candidate.token)] - std::log(sum)).epsilon(1e-5));
    }
}

TEST_CASE("banned tokens are never drawn, penalties divide or multiply, greedy takes the best") {
    std::vector<float> row{1.0f, 3.0f, 2.0f, -1.0f};
    Sampler sampler;
    SamplingParams params;
    params.temperature = 0;
    CHECK(sampler.filter(row.data(), 4, params, {}).front().token == 1);
    params.logit_bias = {{1, -infinity}};
    CHECK(sampler.filter(row.data(), 4, params, {}).front().token == 2);
    params.logit_bias = {};
    params.repeat_penalty = 2.0f;
    CHECK(sampler.filter(row.data(), 4, params, {1}).front().token == 2);
    params.repeat_last_n = 1;
    CHECK(sampler.filter(row.data(), 4, params, {1, 3}).front().token == 1);
    params.logit_bias = {{0, -infinity}, {1, -infinity}, {2, -infinity}, {3, -infinity}};
    CHECK_THROWS_AS(sampler.filter(row.data(), 4, params, {}), Error);
}

TEST_CASE("a row that is not finite is an error, not a token") {
    Sampler sampler;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const std::vector<float> & row : {std::vector<float>(100, nan), std::vector<float>(100, -infinity), std::vector<float>(100, infinity)}) {
        CHECK_THROWS_AS(sampler.filter(row.data(), row.size(), {}, {}), Error);
    }
    auto row = random_row(100, 2);
    row[50] = nan;
    CHECK_THROWS_AS(sampler.filter(row.data(), row.size(), {}, {}), Error);
    row[50] = -infinity; // a masked token is fine
    for (const Candidate & candidate : sampler.filter(row.data(), row.size(), {}, {})) {
        CHECK(candidate.token != 50);
    }
}

TEST_CASE("draws follow the candidates' probabilities") {
    const Candidates candidates{{4, -1, std::log(0.5f)}, {2, -1, std::log(0.3f)}, {9, -1, std::log(0.2f)}};
    std::array<int, 10> counts{};
    constexpr int num_draws = 20000;
    for (std::uint32_t i = 0; i < num_draws; ++i) {
        ++counts[static_cast<std::size_t>(draw(candidates, uniform(5, 6, i)).token)];
    }
    CHECK(counts[4] == doctest::Approx(0.5 * num_draws).epsilon(0.03));
    CHECK(counts[2] == doctest::Approx(0.3 * num_draws).epsilon(0.05));
    CHECK(counts[9] == doctest::Approx(0.2 * num_draws).epsilon(0.06));
    CHECK(draw(candidates, std::nextafter(1.0, 0.0)).token == 9);
}

TEST_CASE("a draw from an unfiltered row equals one from the list of all its candidates") {
    SamplingParams params;
    params.top_p = 1.0f;
    for (const float temperature : {0.5f, 1.0f, 2.0f}) {
        params.temperature = temperature;
        for (const std::size_t size : {3u, 2048u, 2049u, 9000u}) {
            auto row = random_row(size, static_cast<unsigned>(size));
            row.back() = -infinity;
            Sampler listing, direct;
            const Candidates all = listing.filter(row.data(), size, params, {});
            for (std::uint32_t i = 0; i < 300; ++i) {
                const double u = i == 0 ? std::nextafter(1.0, 0.0) : i == 1 ? 0.0 : uniform(1, 2, i);
                const Candidate expected = draw(all, u);
                const Candidate found = direct.draw_unfiltered(row.data(), size, temperature, u);
                CHECK(std::abs(found.token - expected.token) <= 1); // a quantile on the border may fall to either side
                CHECK(found.log_p_sampling == doctest::Approx(std::log(reference(row, params)[static_cast<std::size_t>(found.token)])).epsilon(1e-4));
                CHECK(found.expected_log_p == doctest::Approx(expected.expected_log_p).epsilon(1e-4));
            }
        }
    }
}

TEST_CASE("the likeliest candidates that are kept give what all of them would, or nothing") {
    Sampler sampler;
    int num_known = 0, num_unknown = 0;
    for (unsigned seed = 0; seed < 40; ++seed) {
        SamplingParams params;
        params.temperature = seed % 3 == 0 ? 1.0f : 0.6f;
        params.top_p = seed % 2 == 0 ? 1.0f : 0.95f;
        params.top_k = seed % 5 == 0 ? 12 : 0;
        const auto row = random_row(400, seed);
        const Candidates all = sampler.filter(row.data(), row.size(), params, {});
        const KeptCandidates kept = KeptCandidates::likeliest(all);
        CHECK(!kept.is_whole());
        for (std::uint32_t i = 0; i < 500; ++i) {
            const double u = uniform(seed, 1, i);
            const Candidate * found = kept.draw(u);
            ++(found == nullptr ? num_unknown : num_known);
            if (found != nullptr) {
                CHECK(found->token == draw(all, u).token);
            }
        }
    }
    CHECK(num_known > 1000);
    CHECK(num_unknown > 1000);
    CHECK(KeptCandidates().is_empty());
    CHECK(KeptCandidates().draw(0.5) == nullptr);
}

TEST_CASE("rows sampled on many threads equal rows sampled on one") {
    constexpr std::size_t num_vocab = 60000;
    std::vector<std::vector<float>> rows;
    SamplingParams params;
    for (unsigned i = 0; i < 9; ++i) {
        rows.push_back(random_row(num_vocab, i));
    }
    const auto tasks_for = [&] {
        std::vector<SampleTask> tasks(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            tasks[i].logits = rows[i].data();
            tasks[i].params = &params;
            tasks[i].quantiles = {0.1, 0.5, 0.99};
            tasks[i].keeps = static_cast<SampleTask::Keeps>(i % 3);
        }
        return tasks;
    };
    RowSampler one(num_vocab, 1), many(num_vocab, 4);
    for (int repeat = 0; repeat < 20; ++repeat) {
        auto expected = tasks_for(), found = tasks_for();
        one.run(expected);
        many.run(found);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            for (std::size_t j = 0; j < 3; ++j) {
                CHECK(found[i].draws[j].token == expected[i].draws[j].token);
            }
            CHECK(found[i].kept.is_empty() == expected[i].kept.is_empty());
            CHECK(found[i].kept.is_whole() == expected[i].kept.is_whole());
        }
    }
    rows[4].assign(num_vocab, std::numeric_limits<float>::quiet_NaN());
    auto broken = tasks_for();
    CHECK_THROWS_AS(many.run(broken), Error);
}
