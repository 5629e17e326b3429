// The guest's memory, as the front-end shares it, and what depends on which memory there is: the dirty log and the
// in-flight region.
#include "vhost_user/back_end.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

namespace aerate::vhost_user {

/// Returns the memory of a guest without any, one for all guests, on any of their threads: no ring can lie in it, so
/// nothing is read or written there, and its log stays empty, whichever code starts or takes it.
Result<std::shared_ptr<GuestMemory>> BackEnd::stand_in() {
    static std::mutex mutex;
    static std::shared_ptr<GuestMemory> only;
    const std::scoped_lock lock(mutex);
    if (only == nullptr)
        only = std::make_shared<GuestMemory>(
            TRY(GuestMemory::create({.regions = {{{0}, {2U << 20}}}, .backing = Backing::anonymous})));
    return only;
}

balloon::BalloonState BackEnd::fitted(balloon::BalloonState state, const GuestMemory& memory) {
    const PageCount most = whole_pages_of(memory.size());
    state.target = static_cast<std::uint32_t>(std::min<std::uint64_t>(state.target, most.value));
    const auto is_gone = [&](const PageRange& run) {
        return !memory.contains(address_of(run.first), bytes_of(run.count));
    };
    std::erase_if(state.ballooned, is_gone);
    std::erase_if(state.reported, is_gone);
    return state;
}

/// Returns the target that somebody stands by. Front-ends share memory piece by piece, and the device has no target
/// beyond what is there.
std::uint32_t BackEnd::wanted_target() const {
    const std::uint32_t now = device_->balloon->state(0).target;
    const auto most = whole_pages_of(device_->memory->size()).value;
    return now == std::min<std::uint64_t>(kept_target_, most) ? kept_target_ : now;
}

Result<> BackEnd::set_memory(MemoryTable table) {
    const ByteCount before = memory_part_.size();
    const ByteCount wanted = table.address_space();
    TRY(memory_part_.grow_to(wanted));
    auto device = make_device(std::move(table));
    if (!device) {
        memory_part_.shrink_to(before);
        return std::unexpected(std::move(device).error());
    }
    deactivate();
    flush_log();
    logging_ = false;
    events_.replacing(); // may put the target back
    kept_target_ = wanted_target();
    // What was written to the config space since the device came to rest.
    const balloon::BalloonState last = device_->balloon->state(0);
    earlier_ += device_->balloon->counters();
    device_ = *std::move(device);
    TRY(device_->balloon->restore(fitted({.target = kept_target_,
                                          .actual = last.actual,
                                          .poison_value = last.poison_value,
                                          .last_command = last.last_command,
                                          .ballooned = {},
                                          .reported = {}},
                                         memory())));
    device_->balloon->statistics().set_interval(options_.statistics_interval);
    memory_part_.shrink_to(wanted);
    update_logging();
    update();
    return {};
}

Result<std::unique_ptr<BackEnd::Device>> BackEnd::make_device(MemoryTable table) const {
    auto memory = TRY(map(table));
    return Device::create(std::move(table), std::move(memory), options_.balloon, loop_);
}

Result<std::shared_ptr<GuestMemory>> BackEnd::map(const MemoryTable& table) const {
    auto memory = table.empty() ? TRY(stand_in()) : std::make_shared<GuestMemory>(TRY(table.share()));
    if (log_ && log_->pages() < memory->address_space())
        return fail("the dirty log has bits for {} pages, the guest has {}", log_->pages().value,
                    memory->address_space().value);
    return memory;
}

// --- Dirty log and in-flight region ----------------------------------------------------------------------------------

Result<> BackEnd::set_log(SharedLog log) {
    if (has_memory() && log.pages() < memory().address_space())
        return fail("the dirty log has bits for {} pages, the guest has {}", log.pages().value,
                    memory().address_space().value);
    flush_log();
    log_.reset();
    log_.emplace(std::move(log));
    flush_log();
    return {};
}

/// Logs from the moment that logging is requested, even if the log itself comes a message later.
void BackEnd::update_logging() {
    const bool wanted = negotiated_.has(feature::log_all);
    if (wanted == std::exchange(logging_, wanted))
        return;
    if (!wanted) {
        flush_log();
        // The log of a migration that failed, or has ended: it need not cover memory that comes later.
        log_.reset();
        return memory().write_log().stop();
    }
    device_->logged.clear_all();
    memory().write_log().start();
}

void BackEnd::flush_log() {
    if (!logging_ || !log_)
        return;
    memory().write_log().take(device_->logged);
    if (device_->logged.next_run({0}).count == PageCount{})
        return;
    log_->mark(device_->logged);
    device_->logged.clear_all();
    log_notifier_.signal();
}

void BackEnd::set_inflight(Inflight inflight) {
    deactivate();
    inflight_.reset();
    inflight_.emplace(std::move(inflight));
    update();
}

} // namespace aerate::vhost_user
