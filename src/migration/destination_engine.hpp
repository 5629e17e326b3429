// The destination's side of a migration, one object on one thread. By concern:
//
//     destination.cpp         begins and ends it: greeting, protocol::HandOffDestination, lease, what goes wrong
//     destination_frames.cpp  what each frame of the control stream says, and whether it may come now
#pragma once

#include "memory/page_bitmap.hpp"
#include "migration/destination.hpp"
#include "migration/incoming_streams.hpp"
#include "migration/link/channel.hpp"
#include "migration/page_intake.hpp"
#include "migration/progress_clock.hpp"
#include "migration/receiver_phase.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"
#include "protocol/hand_off.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace aerate::migration {

class Destination::Engine {
public:
    Engine(FileDescriptor socket, DestinationGuest& guest, DestinationOptions options)
        : guest_(guest)
        , options_(std::move(options))
        , interrupt_(EventFd::create())
        , socket_(std::move(socket)) {}

    Result<DestinationReport> receive();
    DestinationProgress progress() { return {round_, ByteCount{received_} + further_.arrived()}; }
    std::chrono::milliseconds idle() const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(progress_.idle(ProgressClock::Clock::now()));
    }
    void cancel() {
        cancelled_ = true;
        further_.cancel();
        if (interrupt_)
            interrupt_->signal();
    }

private:
    [[nodiscard]] Result<> greet();
    [[nodiscard]] Result<> take_frame();
    [[nodiscard]] Result<> expect_progress();
    [[nodiscard]] Result<> take_hello(const Frame&);
    [[nodiscard]] Result<> take_attachment(const Frame&);
    [[nodiscard]] Result<> take_round(const Frame&);
    [[nodiscard]] Result<> join_streams();
    [[nodiscard]] Result<> finish_round();
    [[nodiscard]] Result<> take_unneeded(const Frame&);
    [[nodiscard]] Result<> take_state(const Frame&);
    [[nodiscard]] Result<> sum_up();
    [[nodiscard]] Result<> take_state_end(const Frame&);
    [[nodiscard]] Result<> tell(protocol::HandOffDestination::Event);
    [[nodiscard]] Result<> claim();
    [[nodiscard]] Result<> run();
    [[nodiscard]] Result<> send(FrameKind kind, const auto& message) {
        print(writer_->begin(), message);
        return writer_->send(kind);
    }
    void give_up(const Error&);
    [[nodiscard]] bool verifies() const { return (hello_.features & feature_verify) != 0; }
    [[nodiscard]] bool in_ram(PageRange pages) const {
        return pages.first.value < memory_->address_space().value &&
               memory_->contains(address_of(pages.first), bytes_of(pages.count));
    }

    DestinationGuest& guest_;
    DestinationOptions options_;
    Result<EventFd> interrupt_;
    std::atomic<bool> cancelled_{false};
    std::atomic<unsigned> round_{0};
    std::atomic<std::uint64_t> received_{0}; ///< on the control stream
    FileDescriptor socket_;

    ProgressClock progress_{ProgressClock::Clock::now()};
    IncomingStreams further_{[this] { interrupt_->signal(); }, [this] { return expect_progress(); }};

    // From receive() on.
    std::unique_ptr<Connection> channel_;
    std::optional<FrameWriter> writer_;
    std::optional<FrameReader> reader_;
    protocol::HandOffDestination hand_off_;
    ReceiverPhase phase_ = ReceiverPhase::greeted;
    Session session_;
    std::optional<Lease::Terms> lease_;
    GuestMemory* memory_ = nullptr;
    DestinationReport report_;
    ByteCount of_use_; ///< on the control stream
    Hello hello_;
    struct Attached {
        std::uint64_t length = 0; ///< 0: none has come
        std::uint64_t done = 0;
    };
    std::array<Attached, 2> attached_; ///< by Attachment::Kind
    std::unique_ptr<PageIntake> intake_;
    PageIntake::Lane lane_; ///< the control stream's
    bool round_open_ = false;
    PageBitmap unneeded_;
    FrameNumber unneeded_from_;
    std::vector<std::byte> state_;
    Transcript before_; ///< what was received before the frame at hand
    Sums sums_;
    bool running_ = false;
    bool open_ = false; ///< the connection: something can be said
};

} // namespace aerate::migration
