// A sweep of a guest that hints what the test says, and rests when the test says.
#pragma once

#include "reclaim/sweeper.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace aerate::testing {

using namespace std::chrono_literals;
using namespace virtio::testing;

inline constexpr FrameNumber first = frame_of(GuestAddress{4ULL << 30});
inline constexpr PageCount block{256};
inline constexpr unsigned blocks = 16; ///< of one MiB

/// What the guest writes, as KVM would log it.
class GuestWrites final : public DirtyLog {
public:
    explicit GuestWrites(GuestMemory& memory)
        : memory_(memory)
        , log_(memory.address_space()) {}

    Result<void> start() override {
        ++logs_;
        return {};
    }
    Result<void> stop() override { return {}; }
    void take(PageBitmap& into) override { log_.move_into(into); }
    [[nodiscard]] unsigned logs() const { return logs_; }
    void write(PageRange pages, std::byte value) {
        CHECK(memory_.fill(address_of(pages.first), bytes_of(pages.count), value));
        log_.set(pages);
    }

private:
    GuestMemory& memory_;
    PageBitmap log_;
    unsigned logs_ = 0;
};

/// A guest with a hint queue, whose vCPUs come to rest when the test says so.
class ASweep : public ::testing::Test {
protected:
    ASweep() {
        hinting_.attach(queue_.device(), host_);
        CHECK(memory().fill(address_of(first), bytes_of({block.value * blocks}), data));
    }
    GuestMemory& memory() { return fake_.memory(); }
    void start() {
        sweeper_.start(way_, [this](Result<SweepReport> report) {
            EXPECT_FALSE(report_) << "it ends once";
            report_ = std::move(report);
            loop_.stop();
        });
    }
    void begin() {
        start();
        send(readable(hinting_.tracker().issued.value));
    }
    void hint(unsigned nth) {
        const GuestAddress at = address_of(pages(nth).first);
        send(writable_at(at, static_cast<std::uint32_t>(bytes_of(block).value)));
    }
    void end_round() { send(readable(std::uint32_t{0})); }
    void send(const FakeBuffer& buffer) {
        queue_.add({buffer});
        ASSERT_TRUE(hinting_.serve(queue_.device()));
        (void)queue_.device().publish();
        ASSERT_TRUE(queue_.take_used());
    }
    static PageRange pages(unsigned nth) { return {{first.value + nth * block.value}, block}; }
    [[nodiscard]] PageBitmap bits(PageRange pages) {
        PageBitmap set(memory().address_space());
        set.set(pages);
        return set;
    }
    [[nodiscard]] bool has_data(unsigned nth) {
        return !memory().is_zero(pages(nth).first) && !memory().is_zero({pages(nth).end().value - 1});
    }
    [[nodiscard]] unsigned blocks_with_data() {
        unsigned count = 0;
        for (unsigned nth = 0; nth < blocks; ++nth)
            count += has_data(nth) ? 1U : 0U;
        return count;
    }
    /// Serves the loop until the sweep wants the guest to rest, or is done.
    void run() {
        while (!report_ && !is_asked())
            loop_.run();
    }
    [[nodiscard]] bool is_asked() const { return holds_ > resumes_; }
    void rest(std::chrono::milliseconds for_so_long = {}) {
        sweeper_.held(std::chrono::steady_clock::now() - for_so_long);
    }
    /// From beginning to end.
    Result<> sweep() {
        report_.reset();
        begin_if_it_starts();
        if (!report_) {
            for (unsigned nth = 0; nth < blocks; ++nth)
                hint(nth);
            end_round();
            for (run(); !report_; run())
                rest();
        }
        return *report_ ? Result<>() : std::unexpected(report_->error());
    }
    void begin_if_it_starts() {
        start();
        if (!report_)
            send(readable(hinting_.tracker().issued.value));
    }
    [[nodiscard]] std::string error() const { return report_ && !*report_ ? report_->error().message : ""; }

    static constexpr std::byte data{0xaa};
    Sweeper::Way way_ = Sweeper::Way::by_log;
    FakeDriver fake_;
    EventLoop loop_;
    FakeHost host_;
    balloon::Counters counters_;
    balloon::FreePageHinting hinting_{fake_.memory(), loop_, counters_, 1h, 1h};
    FakeQueue queue_ = fake_.queue(64, split_ring);
    GuestWrites* writes_ = new GuestWrites(fake_.memory());
    DirtyTracker tracker_{fake_.memory(), std::unique_ptr<DirtyLog>(writes_)};
    unsigned holds_ = 0;
    unsigned resumes_ = 0;
    std::optional<Result<SweepReport>> report_;
    /// A batch is two blocks.
    Sweeper sweeper_{loop_,
                     fake_.memory(),
                     tracker_,
                     hinting_,
                     {.hold =
                          [this] {
                              ++holds_;
                              loop_.stop();
                          },
                      .resume = [this] { ++resumes_; }},
                     PageCount{2 * block.value}};
};

} // namespace aerate::testing
