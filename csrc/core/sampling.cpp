#include "sampling.h"

#include "error.h"
#include "row_math.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace arts {
namespace {

constexpr std::size_t block_size = 64;
constexpr float infinity = std::numeric_limits<float>::infinity();

// Of a row's candidates, where no fork is expected: what a later trace most likely draws there.
constexpr std::size_t max_likeliest = 16;
constexpr double least_likely = 0.002;

void set_expected(Candidates & candidates) {
    constexpr float least = -25.0f; // what is drawn less often than exp(least) adds nothing to a float
    double mean = 0.0;
    for (const Candidate & candidate : candidates) {
        if (candidate.log_p_sampling > least) {
            mean += std::exp(static_cast<double>(candidate.log_p_sampling)) * static_cast<double>(candidate.log_p_model);
        }
    }
    for (Candidate & candidate : candidates) {
        candidate.expected_log_p = static_cast<float>(mean);
    }
}

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

KeptCandidates KeptCandidates::all(Candidates candidates) {
    KeptCandidates kept;
    kept.candidates_ = std::move(candidates);
    return kept;
}

KeptCandidates KeptCandidates::likeliest(const Candidates & candidates) {
    struct Share {
        double from, to;
        const Candidate * candidate;
    };
    std::vector<Share> shares;
    double mass = 0.0;
    for (const Candidate & candidate : candidates) { // the sums of `draw`, to the last bit
        const double from = mass;
        mass += std::exp(static_cast<double>(candidate.log_p_sampling));
        if (mass - from >= least_likely) {
            shares.push_back({from, mass, &candidate});
        }
    }
    std::sort(shares.begin(), shares.end(), [](const Share & a, const Share & b) { return a.to - a.from > b.to - b.from; });
    shares.resize(std::min(shares.size(), max_likeliest));
    KeptCandidates kept;
    for (const Share & share : shares) {
        kept.candidates_.push_back(*share.candidate);
        kept.quantiles_.emplace_back(share.from, share.to);
    }
    return kept;
}

const Candidate * KeptCandidates::draw(double u) const {
    if (quantiles_.empty()) {
        return candidates_.empty() ? nullptr : &arts::draw(candidates_, u);
    }
    for (std::size_t i = 0; i < quantiles_.size(); ++i) {
        if (quantiles_[i].first <= u && u < quantiles_[i].second) {
            return &candidates_[i];
        }
    }
    return nullptr;
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

void Sampler::keep_top_k(const float * logits, std::size_t num_vocab, std::size_t k) {
    // At least k tokens reach the k-th largest of the blocks' maxima.
    float threshold = -infinity;
    if (k <= block_max_.size()) {
        std::vector<float> maxima(block_max_);
        std::nth_element(maxima.begin(), maxima.begin() + static_cast<std::ptrdiff_t>(k - 1), maxima.end(), std::greater<>());
        threshold = maxima[k - 1];
    }
    collect(logits, num_vocab, threshold);
    const std::size_t count = std::min(k, kept_.size());
    std::partial_sort(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count), kept_.end(), more_likely);
    kept_.resize(count);
}

// Keeps the smallest set of most likely tokens that holds top_p of `mass` = sum exp((logit - max) / T); returns its mass.
double Sampler::keep_top_p(const float * logits, std::size_t num_vocab, const SamplingParams & params, float max, double mass) {
    const double wanted = static_cast<double>(params.top_p) * mass;
    const auto weight = [&](std::size_t i) { return std::exp((kept_[i].first - max) / params.temperature); };
    const auto weigh = [&](std::size_t begin, std::size_t end) {
        double sum = 0.0;
        for (std::size_t i = begin; i < end; ++i) {
            sum += static_cast<double>(weight(i));
        }
        return sum;
    };
    if (params.top_k == 0) { // usually few tokens, close to the maximum, hold enough; widen until they do
        for (float width = 8.0f;; width *= 2.0f) {
            const float threshold = width < 4096.0f ? max - width * params.temperature : -infinity;
            collect(logits, num_vocab, threshold);
            if (threshold == -infinity || weigh(0, kept_.size()) >= wanted) {
                break;
            }
        }
    }
    // Quickselect by mass: tokens before `begin` are in for certain, those from `end` on are out.
    std::size_t begin = 0, end = kept_.size();
    double reached = 0.0;
    const auto at = [&](std::size_t i) { return kept_.begin() + static_cast<std::ptrdiff_t>(i); };
    while (end - begin > 64) {
        const std::size_t middle = begin + (end - begin) / 2;
        std::nth_element(at(begin), at(middle), at(end), more_likely);
        const double upper = weigh(begin, middle);
        if (reached + upper >= wanted) {
            end = middle;
        } else {
            reached += upper;
            begin = middle;
        }
    }
    std::sort(at(begin), at(end), more_likely);
    for (std::size_t i = begin; i < end; ++i) {
        reached += static_cast<double>(weight(i));
        if (reached >= wanted) {
            end = i + 1;
        }
    }
    kept_.resize(end);
    return reached;
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
        const float log_p = log_p_model(kept_.front().second);
        candidates_.push_back({kept_.front().second, log_p, 0.0f, log_p});
        return candidates_;
    }

    const float temperature = params.temperature;
    const auto weight = [&](float logit) { return std::exp(static_cast<double>((logit - max) / temperature)); };
    double mass = 0.0;
    if (params.top_k > 0) {
        keep_top_k(adjusted, num_vocab, static_cast<std::size_t>(params.top_k));
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
    set_expected(candidates_);
    return candidates_;
}

Candidate Sampler::draw_unfiltered(const float * logits, std::size_t num_vocab, float temperature, double u) {
    const RowMass model = measure(logits, num_vocab);
    const double mass = temperature == 1.0f ? std::exp(model.log_sum - model.max) : sum_exp(logits, num_vocab, model.max, 1.0f / temperature);
    const auto weight = [&](std::size_t i) { return std::exp(static_cast<double>((logits[i] - model.max) / temperature)); };
    // First the chunk that holds the quantile, then the token in it. Rounding may leave a sliver above the last chunk
    // with any mass, and above its last token: they belong to those.
    constexpr std::size_t chunk = 2048;
    double before = 0.0, reached = 0.0;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < num_vocab; at += chunk) {
        const double inside = sum_exp(logits + at, std::min(chunk, num_vocab - at), model.max, 1.0f / temperature);
        if (inside > 0.0) {
            begin = at;
            reached = before;
        }
        before += inside;
        if (before > u * mass) {
            break;
        }
    }
    std::size_t chosen = num_vocab;
    for (std::size_t i = begin; i < std::min(begin + chunk, num_vocab) && (chosen == num_vocab || reached <= u * mass); ++i) {
        reached += weight(i);
        chosen = weight(i) > 0.0 ? i : chosen;
    }
    ensure(chosen < num_vocab, "a finite row has a token that can be drawn");
    const auto token = static_cast<Token>(chosen);
    const double mean = sum_exp_times_excess(logits, num_vocab, model.max, 1.0f / temperature) / mass + model.max - model.log_sum;
    return {token, static_cast<float>(logits[token] - model.log_sum), static_cast<float>((logits[token] - model.max) / temperature - std::log(mass)),
            static_cast<float>(mean)};
}

} // namespace arts
