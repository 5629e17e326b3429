// The source's side of a migration, one object on one thread. By concern:
//
//     source.cpp           begins and ends it, and what happens when something goes wrong
//     source_rounds.cpp    protocol::Precopy: what is gathered, what is sent, when it stops
//     source_hints.cpp     how long a round waits for hints
//     source_hand_over.cpp protocol::HandOffSource: state, READY, GO, ACK, lease
#pragma once

#include "base/check.hpp"
#include "base/since.hpp"
#include "event/loop_thread.hpp"
#include "migration/convergence.hpp"
#include "migration/copy_hints.hpp"
#include "migration/outgoing_streams.hpp"
#include "migration/page_sets.hpp"
#include "migration/source.hpp"
#include "migration/source_link.hpp"
#include "migration/threads.hpp"
#include "protocol/hand_off.hpp"
#include "protocol/precopy.hpp"

#include <atomic>
#include <optional>
#include <utility>

namespace aerate::migration {

class Source::Engine {
public:
    Engine(SourceGuest& guest, SourceOptions options, Callbacks callbacks)
        : guest_(guest)
        , options_(std::move(options))
        , callbacks_(std::move(callbacks))
        , interrupt_(EventFd::create()) {}
    ~Engine() {
        thread_.stop();
        CHECK(!started_ || ended_);
    }

    Result<> start() {
        TRY(thread_.start());
        started_ = true;
        loop().post([this] { begin(); });
        return {};
    }
    void cancel() {
        cancelled_ = true;
        if (interrupt_)
            interrupt_->signal();
        loop().post([this] { handle_cancel(); });
    }

private:
    using Clock = std::chrono::steady_clock;
    using Phase = SourceProgress::Phase;
    using Precopy = protocol::Precopy<PagesFromLowest>;
    using RoundEvent = protocol::PrecopyEvent::Kind;
    using RoundEffect = protocol::PrecopyEffect::Kind;
    using HandOff = protocol::HandOffSource;

    EventLoop& loop() { return thread_.loop(); }

    void begin();
    [[nodiscard]] Result<> connect();
    void tell(RoundEvent kind, PageRange pages = {});
    void gather();
    void publish();
    [[nodiscard]] HintPatience::Duration use_hint(PageRange);
    void after_hints();
    [[nodiscard]] Convergence convergence() const {
        return {options_.downtime_limit, options_.max_rounds, options_.stop_anyway};
    }
    void look_at_pending();
    void judge();
    void pump();
    void pump_soon();
    void account(const OutgoingStreams::Sent&);
    enum class AfterRound : std::uint8_t { next, finish, save };
    void end_round(AfterRound);
    void round_ended();
    void close_hints();
    template <typename F>
    void stop_hinting(F then);
    void sync();
    void synced(Result<>);
    void freeze();
    void save();
    void offer(Result<std::vector<std::byte>> state);
    [[nodiscard]] Result<> send(std::span<const std::byte> state);

    void tell(HandOff::Event);
    void end_state();
    void record();
    void send_go();
    void claim();
    void receive();
    void take_answer();

    void handle_cancel();
    void trouble(Error, HandOff::Event what = HandOff::Event::trouble);
    void resume();
    void end(Outcome);
    /// Returns whether the next step may go ahead, after the guest has answered a question.
    [[nodiscard]] bool answered();
    void enter(Phase);
    void begin_step(TimelineStep::Kind);
    [[nodiscard]] ByteCount on_the_wire() const;
    void report();
    void keep_alive();

    SourceGuest& guest_;
    SourceOptions options_;
    Callbacks callbacks_;
    Result<EventFd> interrupt_;
    std::atomic<bool> cancelled_{false};
    bool started_ = false;
    LoopThread thread_{source_thread};

    // The migration's thread.
    std::optional<SourceLink> link_;
    Precopy precopy_;
    HandOff hand_off_;
    std::optional<Lease::Terms> lease_;
    std::string record_path_;
    SourceProgress progress_;
    Throughput throughput_{options_.bandwidth};
    Throttle throttle_;

    bool tracking_ = false;
    bool asked_ = false; ///< the guest owes an answer
    bool syncing_ = false;
    bool freeze_after_sync_ = false;
    bool hinting_ = false; ///< start_hinting() was answered, stop_hinting() not
    bool ended_ = false;
    std::optional<Error> error_;

    std::unique_ptr<OutgoingStreams> streams_;
    PageRange carried_; ///< taken out of pending, for a stream that had no room
    bool pump_queued_ = false;
    bool round_ending_ = false;
    AfterRound after_round_ = AfterRound::next;
    PageCount sent_in_round_;
    Timeline timeline_;
    Clock::time_point began_;
    Clock::time_point gathered_;
    Clock::time_point frozen_;
    std::chrono::microseconds downtime_{};
    ByteCount sent_when_last_looked_;

    HintTurns hint_turns_;
    CopyHints hints_{thread_.loop(),
                     guest_,
                     options_.hint_start,
                     options_.hint_pause,
                     {.use = [this](PageRange range) { return use_hint(range); }, .waited = [this] { after_hints(); }}};

    std::size_t state_size_ = 0;
    std::uint64_t memory_root_ = 0;
    Sums expected_;

    Subscription input_;
    Subscription progress_timer_;
    Subscription alive_timer_;
    Subscription answer_timer_;
};

} // namespace aerate::migration
