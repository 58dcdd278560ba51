// Drawing the next token from a row of logits.
//
// Order of the filters: logit bias, repetition penalty, temperature, top-k, top-p, min-p; each later filter sees the
// renormalised outcome of the earlier ones (as in Hugging Face transformers and vLLM).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace arts {

using Token = std::int32_t;

struct SamplingParams {
    float temperature = 0.6f; // >= 0; 0 is greedy
    std::int32_t top_k = 0;   // 0: all
    float top_p = 0.95f;      // (0, 1]
    float min_p = 0.0f;       // [0, 1)
    float repeat_penalty = 1.0f;
    std::int32_t repeat_last_n = 64;
    std::vector<std::pair<Token, float>> logit_bias; // -inf bans

    bool needs_history() const { return repeat_penalty != 1.0f && repeat_last_n > 0; }
    bool filters() const { return temperature == 0.0f || top_k > 0 || top_p < 1.0f || min_p > 0.0f; }
    bool adjusts_logits() const { return needs_history() || !logit_bias.empty(); }
};

struct Candidate {
    Token token;
    float log_p_model;    // under the model: log softmax of the raw logits
    float log_p_sampling; // under the filtered, renormalised distribution
    float expected_log_p = 0; // of the row: mean of log_p_model over what is drawn from it; as low as the draw was open
};

// What is left of a row after the filters, in the order in which a draw walks over it.
using Candidates = std::vector<Candidate>;

// The candidate at quantile u in [0, 1).
const Candidate & draw(const Candidates & candidates, double u);

// What is kept of candidates: all of them, or the likeliest with the quantiles at which they are drawn.
class KeptCandidates {
public:
    KeptCandidates() = default;
    static KeptCandidates all(Candidates candidates);
    static KeptCandidates likeliest(const Candidates & candidates);

    bool is_empty() const { return candidates_.empty(); }
    bool is_whole() const { return quantiles_.empty(); }
    // What a draw from all candidates would give; null if that was not kept.
    const Candidate * draw(double u) const;

private:
    Candidates candidates_;
    std::vector<std::pair<double, double>> quantiles_; // [from, to) of each; empty: all candidates are there
};

// log(sum(exp(x))) of a row and its largest element; the row must be finite or -inf.
struct RowMass {
    float max;
    double log_sum;
};

// Holds the scratch space of one thread. Throws Error(Decode) for a row without a finite maximum.
class Sampler {
public:
    // Filters a row. `history` holds the branch's last tokens and is read only if params.needs_history().
    // Returns a reference to scratch space that the next call overwrites.
    const Candidates & filter(const float * logits, std::size_t num_vocab, const SamplingParams & params, const std::vector<Token> & history);

    // Draws from a row whose params neither filter nor adjust it, without listing the whole vocabulary.
    Candidate draw_unfiltered(const float * logits, std::size_t num_vocab, float temperature, double u);

private:
    const float * adjust(const float * logits, std::size_t num_vocab, const SamplingParams & params, const std::vector<Token> & history);
    void collect(const float * logits, std::size_t num_vocab, float threshold);
    void keep_top_k(const float * logits, std::size_t num_vocab, std::size_t k);
    double keep_top_p(const float * logits, std::size_t num_vocab, const SamplingParams & params, float max, double mass);
    RowMass measure(const float * logits, std::size_t num_vocab);

    std::vector<float> adjusted_;
    std::vector<float> block_max_;
    std::vector<std::pair<float, Token>> kept_; // (logit, token)
    Candidates candidates_;
};

} // namespace arts
