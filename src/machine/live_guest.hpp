// The running VM as a snapshot or a migration sees it: answers their questions by asking the balloon's loop for hints
// and the main loop for everything else.
//
// Made and destroyed on the main loop; its calls come on the thread that copies the guest. Nothing waits: each
// answer is called on the loop that has it.
#pragma once

#include "machine/hardware.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/hints.hpp"
#include "migration/guest.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace aerate {

class LiveGuest final : public migration::SourceGuest, private HintSink {
public:
    using Held = std::move_only_function<void(Result<>)>;
    /// All on the main loop.
    struct RunStates {
        std::function<void(Held)> hold; ///< brings devices and vCPUs to rest; fails when the VM is ending
        std::function<void()> release;  ///< undoes it
        std::function<void()> moved;    ///< the guest runs elsewhere now
        std::function<void(unsigned)> throttle;
    };

    enum class Purpose : std::uint8_t { copy, move };

    LiveGuest(EventLoop& main_loop, Hardware&, std::string config, Purpose, RunStates);
    ~LiveGuest() override;

    GuestMemory& memory() override { return hardware_.memory; }
    std::string config() override { return config_; }
    std::vector<migration::Attachment> attachments() override;
    Result<> start_tracking() override;
    void gather(PageBitmap& written) override;
    void stop_tracking() override { writes_ = {}; }
    void start_hinting(Hints, std::move_only_function<void(bool)> published) override;
    void stop_hinting(std::move_only_function<void()> closed) override;
    void sync(std::move_only_function<void(Result<>)> synced) override;
    void forget_sync() override;
    void freeze(std::move_only_function<void(Result<>)> frozen) override;
    void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) override;
    void throttle(unsigned percent) override;
    void run_on() override;
    void gone() override;

private:
    void hinted(PageRange range) override { hints_.hinted->add(range); }
    void round_ended(RoundEnd) override { hints_.round_over(); }
    void on_main(std::move_only_function<void()>);
    void note_disks();
    [[nodiscard]] EventLoop& balloon_loop() { return hardware_.balloon_thread.loop(); }

    EventLoop& main_loop_;
    Hardware& hardware_;
    std::string config_;
    Purpose purpose_;
    RunStates run_states_;
    DirtyTracker::Tracking writes_; ///< the copying thread's
    Hints hints_;                   ///< balloon loop
    struct Sync {
        std::mutex mutex;
        std::move_only_function<void(Result<>)> answer; ///< null: no longer wanted
    };
    std::shared_ptr<Sync> sync_;   ///< the copying thread's
    bool asked_for_hints_ = false; ///< at any time; the copying thread's
    /// Main loop: what was posted there and comes after our end does nothing.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
};

} // namespace aerate
