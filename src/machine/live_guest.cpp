#include "machine/live_guest.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "control/vm_config.hpp"
#include "machine/threads.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
LiveGuest::LiveGuest(EventLoop& main_loop, Hardware& hardware, std::string config, Purpose purpose,
                     RunStates run_states)
    : main_loop_(main_loop)
    , hardware_(hardware)
    , config_(std::move(config))
    , purpose_(purpose)
    , run_states_(std::move(run_states)) {}

void LiveGuest::on_main(std::move_only_function<void()> f) {
    main_loop_.post([alive = std::weak_ptr(alive_), f = std::move(f)]() mutable {
        if (!alive.expired())
            f();
    });
}

/// Returns the attachments, and tells the operator at once what the guest will miss elsewhere.
std::vector<migration::Attachment> LiveGuest::attachments() {
    auto attachments = hardware_.files.attachments();
    const ByteCount limit = std::min(migration::attachment_max, hardware_.memory.size());
    ByteCount all{};
    for (const migration::Attachment& attachment : attachments)
        all += attachment.length;
    const bool too_large = all > limit;
    const BootFile* const changed = hardware_.files.changed_boot_file();
    if (attachments.empty() || too_large)
        log::warning("the guest's kernel and initrd do not go along, {}: where the guest continues it cannot reset "
                     "itself, unless "
                     "--kernel and --initrd name them there",
                     changed != nullptr
                         ? fmt::format("for the {} {} has been written to since it was opened, and is no "
                                       "longer what the guest has booted",
                                       changed->what, changed->path)
                     : too_large ? "for they are too large"
                                 : "for they are not here either");
    return too_large ? std::vector<migration::Attachment>() : attachments;
}

Result<> LiveGuest::start_tracking() {
    writes_ = TRY(hardware_.tracker().track());
    return {};
}

/// Gathers one log: a disk records its buffers when it takes them and again when it has filled them, so both logs have
/// them.
void LiveGuest::gather(PageBitmap& written) {
    writes_.gather(written);
}

void LiveGuest::start_hinting(Hints hints, std::move_only_function<void(bool)> published) {
    if (hardware_.balloon == nullptr)
        return published(false);
    asked_for_hints_ = true;
    balloon_loop().post([this, hints = std::move(hints), published = std::move(published)]() mutable {
        auto& hinting = hardware_.balloon->hinting();
        // There is one command ID, and this one is newer.
        if (hinting.tracker().open())
            log::warning(
                "a round of free page hinting that was under way ends here: a copy of the guest asks for its own");
        hinting.stop();
        hints_ = std::move(hints);
        published(hinting.start(*this).value != 0);
    });
}

void LiveGuest::stop_hinting(std::move_only_function<void()> closed) {
    if (hardware_.balloon == nullptr)
        return closed();
    balloon_loop().post([this, closed = std::move(closed)]() mutable {
        hardware_.balloon->hinting().stop();
        closed();
    });
}

LiveGuest::~LiveGuest() {
    forget_sync();
}

/// Syncs on a thread of its own, which nothing waits for: a disk may hang for as long as it likes.
void LiveGuest::sync(std::move_only_function<void(Result<>)> synced) {
    auto disks = hardware_.duplicate_disks();
    if (!disks || disks->empty())
        return synced(disks ? Result<>() : std::unexpected(std::move(disks).error()));
    sync_ = std::make_shared<Sync>();
    sync_->answer = std::move(synced);
    auto thread =
        host::start_thread(sync_thread, "sync", [sync = sync_, disks = *std::move(disks)](const std::stop_token&) {
            Result<> result;
            for (const Hardware::Disk& disk : disks)
                if (result && host::sync_data(disk.fd.get()) != 0)
                    result = fail_errno("cannot flush what was written to disk {}", disk.path);
            const std::lock_guard lock(sync->mutex);
            if (auto answer = std::exchange(sync->answer, nullptr))
                answer(std::move(result));
        });
    if (thread)
        return thread->detach();
    // The host has none to give. For a move all of it is done when the guest is stopped.
    std::exchange(sync_->answer,
                  nullptr)(purpose_ == Purpose::move ? Result<>() : std::unexpected(std::move(thread).error()));
}

void LiveGuest::forget_sync() {
    if (!sync_)
        return;
    const std::lock_guard lock(sync_->mutex);
    sync_->answer = nullptr;
}

void LiveGuest::freeze(std::move_only_function<void(Result<>)> frozen) {
    on_main([this, frozen = std::move(frozen)]() mutable { run_states_.hold(std::move(frozen)); });
}

void LiveGuest::save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) {
    on_main([this, saved = std::move(saved)]() mutable {
        if (hardware_.memory.lost())
            return saved(fail("the file that holds the guest's memory was cut short or cannot be read"));
        if (auto whole = hardware_.disks_are_whole(); !whole)
            return saved(std::unexpected(std::move(whole).error()));
        auto state = hardware_.save();
        if (!state)
            return saved(std::unexpected(std::move(state).error()));
        if (purpose_ == Purpose::copy)
            note_disks();
        if (purpose_ == Purpose::move)
            if (auto handed = hardware_.hand_over_disks(); !handed)
                return saved(std::unexpected(std::move(handed).error()));
        saved(state::encode(*state));
    });
}

/// Records how the disks are at this moment, which is part of what is saved: a guest that goes on with others destroys
/// them.
void LiveGuest::note_disks() {
    auto config = control::parse_vm_config(config_);
    if (!config || config->drives.empty())
        return;
    for (control::Drive& drive : config->drives) {
        const auto identity = hardware_.files.disk(drive.drive_id)->identity();
        if (identity)
            drive.saved_as = identity->text();
        else
            log::warning("drive {}: {}: a restore will not notice whether it was written since", drive.drive_id,
                         identity.error().message);
    }
    config_ = control::print_vm_config(*config);
}

void LiveGuest::throttle(unsigned percent) {
    on_main([this, percent] { run_states_.throttle(percent); });
}

void LiveGuest::run_on() {
    forget_sync();
    on_main([this] {
        if (purpose_ == Purpose::move)
            hardware_.take_back_disks();
        run_states_.release();
    });
    writes_ = {}; // meanwhile: KVM may take a while to end its log
    // An operator's round is left as it is, unless a round of ours took its place.
    if (asked_for_hints_)
        // The hardware outlives its loop; this object may be gone by then.
        balloon_loop().post([&hardware = hardware_] { hardware.balloon->hinting().done(); });
}

void LiveGuest::gone() {
    on_main([this] { run_states_.moved(); });
}

} // namespace aerate
