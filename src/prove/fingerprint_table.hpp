// The states that were seen, as 64-bit fingerprints (hash compaction), each with the number of its state. Two states of
// one fingerprint would hide what can be reached through the second only: omission_probability() says how likely that
// is at all.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace aerate::prove {

/// Mixes whole words into a fingerprint; each bit of each word changes about half of the result's.
class Fingerprint {
public:
    void mix(std::uint64_t word) {
        value_ ^= word;
        value_ = (value_ ^ (value_ >> 32)) * 0xd6e8feb86659fd93ULL;
        value_ = (value_ ^ (value_ >> 29)) * 0x9e3779b97f4a7c15ULL;
        value_ ^= value_ >> 32;
    }
    /// Never 0, which marks a free slot.
    [[nodiscard]] std::uint64_t value() const { return value_ == 0 ? 1 : value_; }

private:
    std::uint64_t value_ = 0x243f6a8885a308d3ULL;
};

class FingerprintTable {
public:
    using Index = std::uint32_t;

    /// Returns the number of the state with this fingerprint, which is the next one when the state is new; and whether
    /// it is.
    std::pair<Index, bool> insert(std::uint64_t fingerprint) {
        if ((count_ + 1) * 3 > slots_.size() * 2)
            grow();
        Slot& slot = find(fingerprint);
        if (slot.fingerprint != 0)
            return {Index{slot.index}, false};
        slot = {fingerprint, count_};
        return {count_++, true};
    }
    [[nodiscard]] Index count() const { return count_; }
    /// Returns the birthday bound: n^2 / 2^65.
    [[nodiscard]] double omission_probability() const {
        return static_cast<double>(count_) * static_cast<double>(count_) / 3.6893488147419103e19;
    }

private:
    struct [[gnu::packed]] Slot {
        std::uint64_t fingerprint = 0;
        Index index = 0;
    };

    Slot& find(std::uint64_t fingerprint) {
        std::size_t at = fingerprint & (slots_.size() - 1);
        while (slots_[at].fingerprint != 0 && slots_[at].fingerprint != fingerprint)
            at = (at + 1) & (slots_.size() - 1);
        return slots_[at];
    }
    void grow() {
        std::vector<Slot> old(slots_.size() * 2);
        old.swap(slots_);
        for (const Slot& slot : old)
            if (slot.fingerprint != 0)
                find(slot.fingerprint) = slot;
    }

    std::vector<Slot> slots_ = std::vector<Slot>(1U << 16);
    Index count_ = 0;
};

} // namespace aerate::prove
