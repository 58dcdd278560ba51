// Where a step ends and where a trace stops, decided on the bytes of the generated text, one token's piece at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace arts {

struct StepRules {
    std::vector<std::string> delimiters; // none empty
    std::size_t min_step_bytes = 1;
    std::vector<std::string> stop_strings; // none empty

    std::size_t longest_delimiter() const;
    std::size_t longest_stop_string() const;
};

enum class TextOutcome { Nothing, Boundary, Stop };

// Reads a trace's text as it grows. A boundary is the end of the token that completes a delimiter; the bytes of that
// token after the delimiter open the next step. A delimiter after a step without a visible byte, or shorter than
// min_step_bytes, is read as part of the step.
class StepReader {
public:
    TextOutcome feed(std::string_view piece, const StepRules & rules);

    std::size_t num_bytes() const { return num_bytes_; }
    // After Stop: how many bytes of the text come before the stop string.
    std::size_t stop_begin() const { return stop_begin_; }
    // Whether the step that is open now has a visible byte.
    bool has_visible_step() const { return is_step_visible_; }

private:
    bool find_stop(std::string_view piece, const StepRules & rules);
    bool find_boundary(std::string_view piece, const StepRules & rules);

    std::string stop_tail_; // last bytes of the text, one fewer than the longest stop string
    std::string step_tail_; // last bytes of the open step, one fewer than the longest delimiter
    std::size_t num_bytes_ = 0;
    std::size_t stop_begin_ = 0;
    std::size_t step_bytes_ = 0; // length of the open step before step_tail_
    bool is_step_visible_ = false;
};

} // namespace arts
