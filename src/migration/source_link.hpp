// The connection as the source uses it: one call for each thing that is said to the destination.
#pragma once

#include "migration/guest.hpp"
#include "migration/memory_root.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"
#include "migration/wire/page_frame.hpp"

#include <memory>
#include <span>

namespace aerate::migration {

class SourceLink {
public:
    SourceLink(std::unique_ptr<Connection> connection, std::chrono::milliseconds deadline)
        : deadline_(deadline)
        , connection_(std::move(connection))
        , writer_(*connection_, 0, deadline)
        , reader_(*connection_, 0) {}

    /// Waits until the destination has memory for what `hello` describes.
    [[nodiscard]] Result<> shake_hands(const Hello& hello);
    /// Sends them, before the first round, when all streams have joined. Returns false, and sends nothing, if the
    /// destination is of an older release, which does not take them.
    [[nodiscard]] Result<bool> send_attachments(std::span<const Attachment>);
    [[nodiscard]] Result<> send_round(const Round&);
    [[nodiscard]] Result<> send_unneeded(const PageBitmap&);
    [[nodiscard]] Result<> send_state(std::span<const std::byte> state);
    [[nodiscard]] Result<> send_sum_up() { return say(FrameKind::sum_up); }
    /// Returns what READY must say. `length` is the state's; `others` is what was sent on other streams.
    [[nodiscard]] Result<Sums> send_state_end(std::size_t length, const Transcript& others, std::uint64_t memory_root);
    /// Sends GO. From here on nothing interrupts.
    [[nodiscard]] Result<> send_go();
    [[nodiscard]] Result<> send_alive() { return say(FrameKind::alive); }
    /// Tells the destination why the migration ends: best effort.
    void send_error(const std::string& text);
    /// Returns the writer for pages.
    [[nodiscard]] FrameWriter& writer() { return writer_; }
    /// Prefers the reason that a destination sends before it closes over the error that the closing causes.
    [[nodiscard]] Error explained(Error);
    [[nodiscard]] Result<Frame> receive() { return reader_.receive(deadline_); }

    void hang_up() { connection_.reset(); }

    [[nodiscard]] int fd() const { return connection_->fd(); }
    /// Returns whether a frame, or part of one, has arrived that fd() does not show.
    [[nodiscard]] bool holds_more() const { return connection_->holds_more(); }
    [[nodiscard]] const Session& session() const { return session_; }
    [[nodiscard]] ByteCount sent() const { return writer_.sent(); }

private:
    [[nodiscard]] Result<> say(FrameKind);
    [[nodiscard]] Result<Frame> expect(FrameKind);

    std::chrono::milliseconds deadline_;
    std::unique_ptr<Connection> connection_;
    FrameWriter writer_;
    FrameReader reader_;
    Session session_;
    bool attachments_ = false; ///< the destination takes them
};

} // namespace aerate::migration
