// Any calls in any order, given tokens and values among them.

#include "values_setup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

using namespace value_tests;

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
