// A driver by hand: each line is a command, and has one reply line. Between two commands the guest does nothing at all.
#pragma once

#include "block_reader.hpp"
#include "scripts.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace bubble {

class SerialScript {
public:
    explicit SerialScript(const Guest& guest)
        : guest_(guest)
        , transport_(guest.balloon())
        , options_(guest.balloon_options())
        , arena_(guest.make_arena()) {}

    /// Until `poweroff`.
    void run();

private:
    using Channel = guestkit::Channel<virtio::SplitDriver, Transport>;
    using HintQueue = guestkit::HintQueue<virtio::SplitDriver, Transport>;
    struct Command {
        std::string_view name;
        void (SerialScript::*run)();
    };
    static const std::array<Command, 25> commands;

    void help();
    void choose_driver();
    void init();
    void reset();
    void status();
    void config();
    void id();
    void marker();
    void set_word();
    void allocate();
    void free_pages();
    void hint();
    void kick();
    void used();
    void release();
    void write();
    void verify();
    void read();
    void report();
    void inflate();
    void deflate();
    void dma();
    void poll();
    void power_off();
    void reboot();

    template <typename... Parts>
    void ok(const Parts&... parts) {
        guest_.console.line("ok", parts...);
    }
    void error(std::string_view why) { guest_.console.line("error ", why); }

    /// The next argument. Without it, or when it is no number, the command ends with an error reply.
    [[nodiscard]] bool take(std::uint64_t& number);
    [[nodiscard]] bool take(FrameNumber& frame) { return take(frame.value); }
    /// FRAME ORDER
    [[nodiscard]] bool take(guestkit::Block& block);
    /// FRAME SEQUENCE [PAGES]
    [[nodiscard]] bool take(PageRange& range, std::uint32_t& sequence);
    [[nodiscard]] std::uint64_t optional_number(std::uint64_t otherwise);
    [[nodiscard]] HintQueue* hint_queue();
    /// By name, hinting if none is given; null after an error reply.
    [[nodiscard]] Channel* channel();
    [[nodiscard]] bool initialised();
    void send_frames(Channel&);
    void hint_used();
    void finish(HintQueue&);

    const Guest& guest_;
    Transport transport_;
    guestkit::BalloonOptions options_;
    guestkit::Arena arena_;
    std::optional<BalloonDriver> driver_;
    std::optional<FrameNumber> frame_list_; ///< a page for the frames of inflate and deflate
    std::optional<Transport> disk_transport_;
    std::optional<BlockReader> disk_;
    guestkit::CommandWord last_word_ = guestkit::shared_word;
    std::string_view arguments_;
};

} // namespace bubble
