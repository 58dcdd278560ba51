#include "core/step_rules.h"

#include <doctest/doctest.h>

using namespace arts;

namespace {

// Indices of the pieces at whose end a step ends; -1 - i where piece i completes a stop string.
std::vector<int> read(const std::vector<std::string> & pieces, const StepRules & rules, StepReader * end = nullptr) {
    StepReader reader;
    std::vector<int> found;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const TextOutcome outcome = reader.feed(pieces[i], rules);
        if (outcome == TextOutcome::Stop) {
            found.push_back(-1 - static_cast<int>(i));
            break;
        }
        if (outcome == TextOutcome::Boundary) {
            found.push_back(static_cast<int>(i));
        }
    }
    if (end != nullptr) {
        *end = reader;
    }
    return found;
}

using Found = std::vector<int>;

} // namespace

TEST_CASE("a delimiter may span tokens, and a token may hold bytes after it") {
    const StepRules rules{{"\n\n"}, 1, {}};
    CHECK(read({"a", "\n", "\n", "b"}, rules) == Found{2});
    CHECK(read({"a.\n\nSo", " b"}, rules) == Found{0});
    CHECK(read({"a\n", "\nb\n", "\n"}, rules) == Found{1, 2});
}

TEST_CASE("steps without a visible byte merge into their neighbour") {
    const StepRules rules{{"\n\n"}, 1, {}};
    CHECK(read({"\n\n", "a", "\n\n"}, rules) == Found{2});
    CHECK(read({"a", "\n\n", "\n\n", " ", "\n\n", "b\n\n"}, rules) == Found{1, 5});
    CHECK(read({"a\n\n\n\n", "b"}, rules) == Found{0});
}

TEST_CASE("a step is at least min_step_bytes long") {
    const StepRules rules{{"\n"}, 4, {}};
    CHECK(read({"ab", "\n", "cd", "\n", "efgh", "\n"}, rules) == Found{3, 5});
}

TEST_CASE("of several delimiters any ends a step; without one the trace is a single step") {
    CHECK(read({"a", ". ", "b", "\n", "c"}, StepRules{{"\n", ". "}, 1, {}}) == Found{1, 3});
    CHECK(read({"a", "\n\n", "b"}, StepRules{{}, 1, {}}).empty());
}

TEST_CASE("a stop string ends the trace, also across a boundary, and is not part of the text") {
    const StepRules rules{{"\n\n"}, 1, {"\n\nQuestion", "###"}};
    StepReader reader;
    CHECK(read({"abc", "\n\n", "Ques", "tion:", "x"}, rules, &reader) == Found{1, -4});
    CHECK(reader.stop_begin() == 3);
    CHECK(read({"ab#", "#", "#c"}, rules, &reader) == Found{-3});
    CHECK(reader.stop_begin() == 2);
    CHECK(read({"ab## #"}, rules).empty());
}

TEST_CASE("reading byte by byte finds the boundaries that reading at once finds") {
    const StepRules rules{{"\n\n", "||"}, 3, {}};
    const std::string text = "first||x\n\n  \n\nsecond one\n|\n||end";
    std::vector<std::string> bytes;
    for (const char c : text) {
        bytes.emplace_back(1, c);
    }
    const Found found = read(bytes, rules);
    REQUIRE(found.size() == 3);
    CHECK(text.substr(0, static_cast<std::size_t>(found[0]) + 1) == "first||");
    CHECK(text.substr(0, static_cast<std::size_t>(found[1]) + 1) == "first||x\n\n  \n\n");
    CHECK(text.substr(0, static_cast<std::size_t>(found[2]) + 1) == "first||x\n\n  \n\nsecond one\n|\n||");
}
