// Counter-based random numbers: a draw is a pure function of (seed, stream, position).
//
// Philox4x32-10, Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 4.
#pragma once

#include <array>
#include <cstdint>

namespace arts {

inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    constexpr std::uint32_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = static_cast<std::uint64_t>(multiplier0) * counter[0];
        const std::uint64_t product1 = static_cast<std::uint64_t>(multiplier1) * counter[2];
        counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
                   static_cast<std::uint32_t>(product1),
                   static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
                   static_cast<std::uint32_t>(product0)};
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter;
}

inline std::uint64_t philox_u64(std::uint64_t seed, std::uint64_t stream, std::uint32_t position, std::uint32_t purpose) {
    const auto words = philox4x32({static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32), position, purpose},
                                  {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    return (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
}

// Uniform in [0, 1), 53 bits: the draw for the token at `position`.
inline double uniform(std::uint64_t seed, std::uint64_t stream, std::uint32_t position) {
    return static_cast<double>(philox_u64(seed, stream, position, 0) >> 11) * 0x1.0p-53;
}

// The stream of a child: a function of the parent's stream, the fork position and the child's number there.
inline std::uint64_t child_stream(std::uint64_t seed, std::uint64_t stream, std::uint32_t position, std::uint32_t ordinal) {
    return philox_u64(seed, stream, position, ordinal + 1);
}

} // namespace arts
