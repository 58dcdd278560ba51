#include "step_rules.h"

#include <algorithm>

namespace arts {
namespace {

std::size_t longest(const std::vector<std::string> & texts) {
    std::size_t length = 0;
    for (const std::string & text : texts) {
        length = std::max(length, text.size());
    }
    return length;
}

bool has_visible_byte(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 0x20; });
}

// The match that ends first, at or after `from`; {npos, 0} if there is none. Longer texts win at the same end.
struct Match {
    std::size_t begin = std::string_view::npos;
    std::size_t end = std::string_view::npos;
};

Match first_match(std::string_view text, const std::vector<std::string> & patterns, std::size_t from) {
    Match best;
    for (const std::string & pattern : patterns) {
        const std::size_t begin = text.find(pattern, from);
        if (begin == std::string_view::npos) {
            continue;
        }
        const std::size_t end = begin + pattern.size();
        if (end < best.end || (end == best.end && begin < best.begin)) {
            best = {begin, end};
        }
    }
    return best;
}

void keep_last(std::string & text, std::size_t count) {
    if (text.size() > count) {
        text.erase(0, text.size() - count);
    }
}

} // namespace

std::size_t StepRules::longest_delimiter() const { return longest(delimiters); }

std::size_t StepRules::longest_stop_string() const { return longest(stop_strings); }

TextOutcome StepReader::feed(std::string_view piece, const StepRules & rules) {
    if (find_stop(piece, rules)) {
        return TextOutcome::Stop;
    }
    return find_boundary(piece, rules) ? TextOutcome::Boundary : TextOutcome::Nothing;
}

bool StepReader::find_stop(std::string_view piece, const StepRules & rules) {
    const std::size_t tail_begin = num_bytes_ - stop_tail_.size();
    num_bytes_ += piece.size();
    if (rules.stop_strings.empty()) {
        return false;
    }
    stop_tail_.append(piece);
    const Match match = first_match(stop_tail_, rules.stop_strings, 0);
    if (match.begin != std::string_view::npos) {
        stop_begin_ = tail_begin + match.begin;
        return true;
    }
    keep_last(stop_tail_, rules.longest_stop_string() - 1);
    return false;
}

bool StepReader::find_boundary(std::string_view piece, const StepRules & rules) {
    const std::size_t tail_keeps = std::max<std::size_t>(rules.longest_delimiter(), 1) - 1;
    step_tail_.append(piece);
    bool is_boundary = false;
    for (std::size_t from = 0; !is_boundary;) {
        const Match match = first_match(step_tail_, rules.delimiters, from);
        if (match.begin == std::string_view::npos) {
            break;
        }
        const bool is_visible = is_step_visible_ || has_visible_byte(std::string_view(step_tail_).substr(0, match.begin));
        if (is_visible && step_bytes_ + match.begin >= rules.min_step_bytes) {
            is_boundary = true;
            step_tail_.erase(0, match.end);
            step_bytes_ = 0;
            is_step_visible_ = false;
        } else {
            from = match.end;
        }
    }
    is_step_visible_ = is_step_visible_ || has_visible_byte(step_tail_);
    if (step_tail_.size() > tail_keeps) {
        step_bytes_ += step_tail_.size() - tail_keeps;
        keep_last(step_tail_, tail_keeps);
    }
    return is_boundary;
}

} // namespace arts
