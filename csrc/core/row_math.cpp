#include "row_math.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

// Wheels are built for the baseline instruction set; the loader picks the widest version that the processor has.
// (Not under sanitizers: the loader's choice runs before their runtime is up.)
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ARTS_CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define ARTS_CLONES
#endif

// What a clone calls has to become part of it, else it stays at the baseline.
#if defined(__GNUC__)
#define ARTS_INLINE inline __attribute__((always_inline))
#else
#define ARTS_INLINE inline
#endif

namespace arts {
namespace {

constexpr std::size_t lanes = 16;

// exp(x) for x <= 0 (Cephes' expf polynomial); below -87 it is 0.
ARTS_INLINE float exp_nonpositive(float x) {
    const float clamped = x < -87.0f ? -87.0f : x; // keeps NaN
    const float shifted = clamped * 1.44269504088896341f + 12582912.0f; // rounds to nearest in the low bits
    const float n = shifted - 12582912.0f;
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    std::int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = static_cast<std::int32_t>((static_cast<std::uint32_t>(bits) + 127u) << 23);
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

// Sums term(row[i]) over a row.
template <typename Term>
ARTS_INLINE double sum_terms(const float * row, std::size_t size, Term term) {
    constexpr std::size_t chunk = 4096; // float lanes stay short, so that their rounding error does
    double total = 0.0;
    for (std::size_t begin = 0; begin < size; begin += chunk) {
        const std::size_t count = std::min(chunk, size - begin);
        const float * part = row + begin;
        float sums[lanes] = {};
        std::size_t i = 0;
        for (; i + lanes <= count; i += lanes) {
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                sums[lane] += term(part[i + lane]);
            }
        }
        for (; i < count; ++i) {
            sums[0] += term(part[i]);
        }
        for (const float sum : sums) {
            total += static_cast<double>(sum);
        }
    }
    return total;
}

} // namespace

ARTS_CLONES void block_maxima(const float * row, std::size_t size, std::size_t block_size, float * out) {
    for (std::size_t begin = 0; begin < size; begin += block_size) {
        const std::size_t count = std::min(block_size, size - begin);
        const float * block = row + begin;
        float best[lanes];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            best[lane] = -std::numeric_limits<float>::infinity();
        }
        std::size_t i = 0;
        for (; i + lanes <= count; i += lanes) {
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                best[lane] = block[i + lane] > best[lane] ? block[i + lane] : best[lane];
            }
        }
        for (; i < count; ++i) {
            best[0] = block[i] > best[0] ? block[i] : best[0];
        }
        *out++ = *std::max_element(best, best + lanes);
    }
}

ARTS_CLONES double sum_exp(const float * row, std::size_t size, float max, float scale) {
    return sum_terms(row, size, [max, scale](float x) { return exp_nonpositive((x - max) * scale); });
}

ARTS_CLONES double sum_exp_times_excess(const float * row, std::size_t size, float max, float scale) {
    return sum_terms(row, size, [max, scale](float x) {
        const float excess = x - max;
        return exp_nonpositive(excess * scale) * (excess < -1e30f ? -1e30f : excess); // 0 * -inf is no number
    });
}

} // namespace arts
