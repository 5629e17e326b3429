// The form that the next frame of a stream takes, of those that are allowed. No clock, no socket, no compressor: all is
// decided by what the frames before have cost.
//
// A stream's thread reads, compresses and hands over one frame while the link carries those before it. So content takes
// whichever is longer, the thread's time or the link's:
//
//     cost of a form = max(handling + compressing, share of the content that is left * the link's time for a byte)
//
// On a link that takes bytes as fast as they are made plain is cheapest. The slower the link, the more compressing is
// worth, until the compressor would be what limits. Content that does not compress costs the link the same in every
// form, and then the lightest is taken.
#pragma once

#include "base/units.hpp"
#include "migration/link/link_rate.hpp"
#include "migration/wire/compression.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

namespace aerate::migration {

class CompressionChoice {
public:
    using Duration = LinkRate::Duration;

    /// What became of a frame. Its form is the one that next() gave.
    struct Sent {
        ByteCount content; ///< before compression
        ByteCount stored;  ///< and after
        Duration compressing{};
        Duration handling{}; ///< all else that the thread did for it: reading, sums, copies; no waiting
    };

    /// `forms`: those beside plain, lightest first; may be empty.
    explicit CompressionChoice(const std::vector<CompressionSetting>& forms);

    /// Returns the form in use, or now and then another one, to see what that would cost.
    [[nodiscard]] CompressionSetting next();
    /// Counts a frame that `link` has seen; `elapsed` since the last call.
    void sent(const Sent&, const LinkRate& link, Duration elapsed);

    [[nodiscard]] CompressionSetting in_use() const { return forms_[in_use_].setting; }

private:
    /// The median of the last few: the first time with cold caches, or a moment without a processor, is no
    /// measure.
    class Typical {
    public:
        void add(double value);
        [[nodiscard]] double value() const;
        [[nodiscard]] bool steady() const { return count_ >= 3; }

    private:
        std::array<double, 5> last_{};
        std::size_t count_ = 0;
    };
    struct Form {
        CompressionSetting setting;
        bool tried = false;
        Typical compressing{}; ///< seconds for a byte of content
        double saved = 0;      ///< of the content
        Duration since_tried{};
    };

    [[nodiscard]] double cost(const Form&) const;
    [[nodiscard]] double least_cost(std::size_t form) const;
    [[nodiscard]] bool is_due(std::size_t form) const;
    void learn(Form&, double compressing, double saved);
    void choose();

    std::vector<Form> forms_; ///< the first is plain
    std::size_t in_use_ = 0;
    std::size_t next_ = 0; ///< in use, or tried
    unsigned frames_since_try_ = 0;
    Typical handling_; ///< seconds for a byte of content
    double link_ = 0;  ///< seconds for a byte
};

} // namespace aerate::migration
