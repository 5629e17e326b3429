#include "machine/live_guest.hpp"

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

Result<> LiveGuest::start_tracking() {
    writes_ = TRY(hardware_.tracker().track());
    return {};
}

/// A disk records its buffers when it takes them and again when it has filled them, so both logs together have them.
void LiveGuest::gather(PageBitmap& written, PageBitmap&) {
    writes_.gather(written);
}

void LiveGuest::start_hinting(HintCallbacks callbacks, std::move_only_function<void(bool)> published) {
    if (hardware_.balloon == nullptr)
        return published(false);
    balloon_loop().post([this, callbacks = std::move(callbacks), published = std::move(published)]() mutable {
        auto& hinting = hardware_.balloon->hinting();
        // A round that an operator began ends here: there is one command ID, and this one is newer.
        hinting.stop();
        hints_ = std::move(callbacks);
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

void LiveGuest::freeze(std::move_only_function<void(Result<>)> frozen) {
    on_main([this, frozen = std::move(frozen)]() mutable { run_states_.hold(std::move(frozen)); });
}

void LiveGuest::save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) {
    on_main([this, saved = std::move(saved)]() mutable {
        auto state = hardware_.save();
        if (!state)
            return saved(std::unexpected(std::move(state).error()));
        if (purpose_ == Purpose::move)
            hardware_.share_disks();
        saved(state::encode(*state));
    });
}

void LiveGuest::throttle(unsigned percent) {
    on_main([this, percent] { run_states_.throttle(percent); });
}

void LiveGuest::run_on() {
    writes_ = {};
    if (hardware_.balloon != nullptr)
        // The hardware outlives its loop; this object may be gone by then.
        balloon_loop().post([&hardware = hardware_] { hardware.balloon->hinting().done(); });
    on_main([this] {
        if (purpose_ == Purpose::move)
            hardware_.take_back_disks();
        run_states_.release();
    });
}

void LiveGuest::gone() {
    on_main([this] { run_states_.moved(); });
}

} // namespace aerate
