#include "sampling.h"

#include "error.h"
#include "row_math.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace arts {
namespace {

constexpr std::size_t block_size = 64;
constexpr float infinity = std::numeric_limits<float>::infinity();

bool more_likely(const std::pair<float, Token> & a, const std::pair<float, Token> & b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
}

} // namespace

const Candidate & draw(const Candidates & candidates, double u) {
    ensure(!candidates.empty(), "a draw from no candidates");
    double mass = 0.0;
    for (const Candidate & candidate : candidates) {
        mass += std::exp(static_cast<double>(candidate.log_p_sampling));
        if (u < mass) {
            return candidate;
        }
    }
    // Rounding left a sliver above the last candidate; it belongs to the last one that can be drawn at all.
    for (auto last = candidates.rbegin(); last != candidates.rend(); ++last) {
        if (last->log_p_sampling > -infinity) {
            return *last;
        }
    }
    return candidates.back();
}

RowMass Sampler::measure(const float * logits, std::size_t num_vocab) {
    const std::size_t num_blocks = (num_vocab + block_size - 1) / block_size;
    block_max_.resize(num_blocks);
    block_maxima(logits, num_vocab, block_size, block_max_.data());
    const float max = *std::max_element(block_max_.begin(), block_max_.end());
    if (!std::isfinite(max)) {
        fail(ErrorCode::Decode, "the model returned logits without a finite maximum; the file may be damaged");
    }
    const double sum = sum_exp(logits, num_vocab, max, 1.0f);
    if (!std::isfinite(sum)) {
        fail(ErrorCode::Decode, "the model returned logits that are not numbers; the file may be damaged");
    }
    return {max, max + std::log(sum)};
}

const float * Sampler::adjust(const float * logits, std::size_t num_vocab, const SamplingParams & params, const std::vector<Token> & history) {
    adjusted_.assign(logits, logits + num_vocab);
    for (const auto & [token, bias] : params.logit_bias) {
        adjusted_[static_cast<std::size_t>(token)] += bias;
    }
    if (params.needs_history()) {
        const std::size_t window = std::min(history.size(), static_cast<std::size_t>(params.repeat_last_n));
        std::vector<Token> recent(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
        std::sort(recent.begin(), recent.end());
        recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
        for (const Token token : recent) {
            float & logit = adjusted_[static_cast<std::size_t>(token)];
            logit = logit > 0 ? logit / params.repeat_penalty : logit * params.repeat_penalty;
        }
    }
    return adjusted_.data();
}

// Collects the tokens with logit >= threshold, in ascending id; the block maxima say where to look.
void Sampler::collect(const float * logits, std::size_t num_vocab, float threshold) {
    kept_.clear();
    for (std::size_t block = 0; block < block_max_.size(); ++block) {
        if (!(block_max_[block] >= threshold)) {
            continue;
        }
        const std::size_t end = std::min(num_vocab, (block + 1) * block_size);
        for (std::size_t i = block * block_size; i < end; ++i) {
            if (logits[i] >= threshold && logits[i] > -infinity) {
                kept_.emplace_back(logits[i], static_cast<Token>(i));
            }
        }
    }
}

void Sampler::keep_top_k(const float * logits, std::size_t num_vocab, const SamplingParams & params, float max) {
    const auto k = static_cast<std::size_t>(params.top_k);
    // Usually the k best lie close to the maximum; widen until they are all there.
    for (float width = 16.0f;; width *= 4.0f) {
        const float threshold = width < 4096.0f ? max - width : -infinity;
        collect(logits, num_vocab, threshold);
        if (kept_.size() >= k || threshold == -infinity) {
            break;
        }
    }
    const std::size_t count = std::min(k, kept_.size());
    std::partial_sort(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count), kept_.end(), more_likely);
    kept_.resize(count);
}

// Keeps the smallest set of most likely tokens that holds top_p of `mass` = sum exp((logit - max) / T); returns its mass.
double Sampler::keep_top_p(const float * logits, std::size_t num_vocab, const SamplingParams & params, float max, double mass) {
    const double wanted = static_cast<double>(params.top_p) * mass;
    const bool is_collected = params.top_k > 0;
    for (float width = 8.0f;; width *= 4.0f) {
        const float threshold = width < 4096.0f ? max - width * params.temperature : -infinity;
        if (!is_collected) {
            collect(logits, num_vocab, threshold);
        }
        double reached = 0.0;
        std::size_t num_sorted = 0;
        for (std::size_t i = 0; i < kept_.size(); ++i) {
            if (i == num_sorted) {
                const std::size_t until = is_collected ? kept_.size() : std::min(kept_.size(), std::max<std::size_t>(32, num_sorted * 4));
                std::partial_sort(kept_.begin() + static_cast<std::ptrdiff_t>(num_sorted),
                                  kept_.begin() + static_cast<std::ptrdiff_t>(until), kept_.end(), more_likely);
                num_sorted = until;
            }
            reached += std::exp(static_cast<double>((kept_[i].first - max) / params.temperature));
            if (reached >= wanted) {
                kept_.resize(i + 1);
                return reached;
            }
        }
        if (is_collected || threshold == -infinity) {
            return reached;
        }
    }
}

const Candidates & Sampler::filter(const float * logits, std::size_t num_vocab, const SamplingParams & params, const std::vector<Token> & history) {
    const RowMass model = measure(logits, num_vocab);
    const float * adjusted = logits;
    float max = model.max;
    if (params.adjusts_logits()) {
        adjusted = adjust(logits, num_vocab, params, history);
        block_maxima(adjusted, num_vocab, block_size, block_max_.data());
        max = *std::max_element(block_max_.begin(), block_max_.end());
        if (!std::isfinite(max)) {
            fail(ErrorCode::InvalidArgument, "logit_bias and banned_tokens leave no token that can be drawn; ban fewer");
        }
    }
    candidates_.clear();
    const auto log_p_model = [&](Token token) { return static_cast<float>(logits[token] - model.log_sum); };

    if (params.temperature == 0.0f) {
        collect(adjusted, num_vocab, max);
        candidates_.push_back({kept_.front().second, log_p_model(kept_.front().second), 0.0f});
        return candidates_;
    }

    const float temperature = params.temperature;
    const auto weight = [&](float logit) { return std::exp(static_cast<double>((logit - max) / temperature)); };
    double mass = 0.0;
    if (params.top_k > 0) {
        keep_top_k(adjusted, num_vocab, params, max);
        for (const auto & [logit, token] : kept_) {
            mass += weight(logit);
        }
    } else {
        const bool is_plain = temperature == 1.0f && adjusted == logits;
        mass = is_plain ? std::exp(model.log_sum - max) : sum_exp(adjusted, num_vocab, max, 1.0f / temperature);
    }
    if (params.top_p < 1.0f) {
        mass = keep_top_p(adjusted, num_vocab, params, max, mass);
    } else if (params.top_k == 0) {
        const float width = params.min_p > 0.0f ? -std::log(params.min_p) * temperature : infinity;
        collect(adjusted, num_vocab, max - width);
    }
    if (params.min_p > 0.0f) {
        // Relative to the most likely token, hence untouched by the renormalisation after top-k and top-p.
        const float threshold = max + std::log(params.min_p) * temperature;
        kept_.erase(std::remove_if(kept_.begin(), kept_.end(), [&](const auto & entry) { return entry.first < threshold; }), kept_.end());
        mass = 0.0;
        for (const auto & [logit, token] : kept_) {
            mass += weight(logit);
        }
    }
    const double log_mass = std::log(mass);
    candidates_.reserve(kept_.size());
    for (const auto & [logit, token] : kept_) {
        candidates_.push_back({token, log_p_model(token), static_cast<float>((logit - max) / temperature - log_mass)});
    }
    return candidates_;
}

} // namespace arts
