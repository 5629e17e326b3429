// A back-end with a loop of its own, and a front-end connected to it.
#pragma once

#include "event/loop_thread.hpp"
#include "vhost_user/session.hpp"
#include "vhost_user/testing/front_end.hpp"

#include <future>
#include <memory>
#include <optional>
#include <string>

namespace aerate::vhost_user::testing {

inline constexpr balloon::BalloonConfig everything{.deflate_on_oom = true,
                                                   .free_page_hinting = true,
                                                   .free_page_reporting = true,
                                                   .page_poison = true,
                                                   .statistics = true};

/// The queues of a driver that accepts everything, by index.
enum Ring : std::uint32_t { inflate, deflate, statistics, hinting, reporting };

inline constexpr virtio::FeatureSet split_guest{(1ULL << 1) | (1ULL << 2) | (1ULL << 3) | (1ULL << 5) | (1ULL << 30) |
                                                (1ULL << 32)};
inline constexpr virtio::FeatureSet packed_guest = split_guest.with(virtio::feature::ring_packed);
inline constexpr std::uint64_t ram_start = 0xaa8000;
inline constexpr std::size_t ram_size = 32U << 20;
/// Clear of rings and buffers.
inline constexpr std::uint64_t data_start = ram_start + (16U << 20);

class Served {
public:
    explicit Served(std::optional<KeptState> kept = std::nullopt, bool offer_packed = true,
                    std::shared_ptr<MemoryBudget> memory_budget = nullptr) {
        std::array<int, 2> pair{};
        CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
        front = std::make_unique<FrontEnd>(FileDescriptor(pair[0]));
        auto made = Session::create(thread_.loop(), FileDescriptor(pair[1]),
                                    {.balloon = everything,
                                     .statistics_interval = {},
                                     .offer_packed = offer_packed,
                                     .memory_budget = std::move(memory_budget)},
                                    {.replacing = {}, .ended = [this](std::string why) { ended_.set_value(why); }},
                                    std::move(kept));
        CHECK(made.has_value());
        session_ = *std::move(made);
        CHECK(thread_.start());
    }
    ~Served() {
        thread_.stop();
        session_.reset();
    }
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;

    /// Negotiates, shares `ram`, starts all five rings.
    bool start(virtio::FeatureSet features = split_guest, std::uint64_t without = 0) {
        if (!front->negotiate(features, without) || front->share_memory({&ram}) != true)
            return false;
        front->make_rings(ram, 5);
        return front->start_rings();
    }
    /// On the back-end's thread.
    template <typename F>
    auto with(F f) {
        return thread_.loop().call([&] { return f(session_->back_end()); });
    }
    [[nodiscard]] bool active() {
        return with([](BackEnd& back_end) { return back_end.active(); });
    }
    /// Returns why the session ended; nothing if it has not.
    [[nodiscard]] std::optional<std::string> ended() {
        if (end_.wait_for(std::chrono::milliseconds(FrontEnd::patience_ms)) != std::future_status::ready)
            return std::nullopt;
        return end_.get();
    }
    /// Ends the session as a lost connection does, and returns what is kept.
    [[nodiscard]] KeptState stop() {
        thread_.stop();
        KeptState kept = session_->back_end().keep();
        session_.reset();
        return kept;
    }

    void write_page(std::uint64_t address) { std::memset(ram.at(address), 0xaa, page_size.value); }
    [[nodiscard]] bool is_discarded(std::uint64_t address) const { return *ram.at(address) == std::byte{0}; }
    /// Sends PFNs on a queue and waits for it to be used.
    bool send_pages(Ring ring, std::initializer_list<std::uint64_t> addresses) {
        const std::uint64_t buffer = ram_start + (8U << 20);
        std::vector<std::uint32_t> frames;
        for (const std::uint64_t address : addresses)
            frames.push_back(static_cast<std::uint32_t>(address >> page_shift));
        std::memcpy(ram.at(buffer), frames.data(), frames.size() * 4);
        const std::array chain{virtio::DriverBuffer{{buffer}, static_cast<std::uint32_t>(frames.size() * 4), false}};
        return front->send_chain(ring, chain).has_value();
    }
    bool report(std::uint64_t address, std::uint32_t length) {
        const std::array chain{virtio::DriverBuffer{{address}, length, true}};
        return front->send_chain(reporting, chain).has_value();
    }

    SharedRam ram{ram_start, ram_size};
    std::unique_ptr<FrontEnd> front;

private:
    std::promise<std::string> ended_;
    std::future<std::string> end_ = ended_.get_future();
    LoopThread thread_{"back-end"};
    std::unique_ptr<Session> session_;
};

/// Ready for rings: features and memory are agreed.
struct Ready : Served {
    Ready() {
        CHECK(front->negotiate(split_guest));
        CHECK(front->share_memory({&ram}) == true);
        front->make_rings(ram, 5);
    }
    [[nodiscard]] bool still_serves() { return front->start_rings() && active() && send_pages(inflate, {data_start}); }
};

/// Now that what a process opens once, for all of its front-ends, is open.
[[nodiscard]] inline std::size_t open_descriptors() {
    static const bool all_open = [] {
        Ready ready;
        return ready.still_serves();
    }();
    CHECK(all_open);
    std::size_t count = 0;
    for (int fd = 0; fd < 1024; ++fd)
        count += ::fcntl(fd, F_GETFD) >= 0 ? 1U : 0U;
    return count;
}

} // namespace aerate::vhost_user::testing
