// The free page hinting queue, one buffer at a time (virtio 1.2, 5.5.6.5): commands are readable, blocks writable.
#pragma once

#include "guestkit/balloon_wire.hpp"
#include "guestkit/block.hpp"
#include "guestkit/channel.hpp"
#include "virtio/shared_word.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace aerate::guestkit {

/// Where a command's four bytes are while the device may read them.
struct CommandWord {
    unsigned index{};
};
/// The word which all start commands of Linux share (vb->cmd_id_active).
inline constexpr CommandWord shared_word{0};

template <typename Ring, Transport T>
class HintQueue {
public:
    static constexpr unsigned word_count = 16;

    /// What the device is done with: a block, or else a command.
    struct Used {
        std::optional<FrameNumber> block;
    };

    [[nodiscard]] static std::optional<HintQueue> open(T& transport, Arena& arena, std::uint16_t index,
                                                       typename Channel<Ring, T>::Options options) {
        const auto words = arena.cut({word_count * sizeof(std::uint32_t)});
        auto channel = Channel<Ring, T>::open(transport, arena, index, options);
        if (!words || !channel)
            return std::nullopt;
        return HintQueue(*words, *channel);
    }

    /// Returns a word that no queued command points at, other than the shared one.
    [[nodiscard]] std::optional<CommandWord> unused_word() const {
        for (unsigned index = shared_word.index + 1; index < word_count; ++index)
            if (queued_[index] == 0)
                return CommandWord{index};
        return std::nullopt;
    }
    void set_word(CommandWord word, std::uint32_t value) { virtio::store_word(words_.host + offset(word), value); }

    /// Returns false when the ring is full. The device reads the word when it comes to it, not now.
    [[nodiscard]] bool add_command(CommandWord word, std::uint32_t value) {
        set_word(word, value);
        const virtio::DriverBuffer buffer{{words_.guest.value + offset(word)}, sizeof value, false};
        const bool added = channel_.add({&buffer, 1}, command_token | word.index);
        if (added)
            ++queued_[word.index];
        return added;
    }
    /// Returns false when the ring is full, but for the slot that is kept for a command.
    [[nodiscard]] bool add_block(Block block) {
        const virtio::DriverBuffer buffer{address_of(block.first),
                                          static_cast<std::uint32_t>(bytes_of(pages_of(block.order)).value), true};
        return channel_.free_slots() > 1 && channel_.add({&buffer, 1}, static_cast<std::uint32_t>(block.first.value));
    }
    [[nodiscard]] std::optional<Used> take_used() {
        const auto used = channel_.take_used();
        if (!used)
            return std::nullopt;
        if ((used->token & command_token) == 0)
            return Used{FrameNumber{used->token}};
        --queued_[used->token & ~command_token];
        return Used{};
    }
    [[nodiscard]] Channel<Ring, T>& channel() { return channel_; }

private:
    /// Tells commands from blocks. RAM ends below frame 2^31, which is 8 TiB.
    static constexpr std::uint32_t command_token = 1U << 31;

    HintQueue(virtio::RingMemory words, Channel<Ring, T> channel)
        : words_(words)
        , channel_(channel) {}

    [[nodiscard]] static constexpr std::size_t offset(CommandWord word) { return word.index * sizeof(std::uint32_t); }

    virtio::RingMemory words_;
    Channel<Ring, T> channel_;
    std::array<std::uint16_t, word_count> queued_{}; ///< commands in the queue that point at the word
};

} // namespace aerate::guestkit
