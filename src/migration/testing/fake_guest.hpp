// A guest without a CPU, for both ends of a migration: threads that write, free, take again and discard pages of real
// memory through GuestMemory, and a record of what each page must hold.
#pragma once

#include "base/check.hpp"
#include "base/endian.hpp"
#include "event/loop_thread.hpp"
#include "memory/guest_memory.hpp"
#include "migration/guest.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

namespace aerate::migration::testing {

inline MemoryLayout two_regions(ByteCount each) {
    return {{{{0}, each}, {{1ULL << 32}, each}}, Backing::anonymous};
}

inline GuestMemory make_memory(const MemoryLayout& layout) {
    auto memory = GuestMemory::create(layout);
    CHECK(memory);
    return std::move(*memory);
}

/// What a page of the guest's must hold: nothing that matters while it is free, zeros, or a pattern of its number and
/// the write that it was.
struct PageModel {
    bool allocated = true;
    std::uint64_t written = 0; ///< 0: zeros
};

class GuestModel {
public:
    explicit GuestModel(const GuestMemory& memory) {
        for (const MappedRegion& region : memory.regions()) {
            const PageRange pages{frame_of(region.guest.start), whole_pages_of(region.guest.length)};
            for (FrameNumber frame = pages.first; frame < pages.end(); ++frame.value)
                frames_.push_back(frame);
        }
        pages_.resize(frames_.size());
    }

    [[nodiscard]] std::size_t size() const { return frames_.size(); }
    [[nodiscard]] FrameNumber frame(std::size_t index) const { return frames_[index]; }
    [[nodiscard]] PageModel& operator[](std::size_t index) { return pages_[index]; }

    void write(GuestMemory& memory, std::size_t index, std::uint64_t sequence) {
        pages_[index] = {true, sequence};
        const auto page = content(index);
        CHECK(memory.write(address_of(frames_[index]), page));
    }
    void discard(GuestMemory& memory, std::size_t index) {
        pages_[index].written = 0;
        const PageRange range{frames_[index], {1}};
        (void)memory.discard({&range, 1});
    }
    /// Returns how many pages that matter hold something else.
    [[nodiscard]] std::size_t wrong(const GuestMemory& memory) const {
        std::size_t count = 0;
        std::array<std::byte, 4096> held;
        for (std::size_t i = 0; i < size(); ++i) {
            if (!pages_[i].allocated)
                continue;
            const bool right = pages_[i].written == 0 ? memory.is_zero(frames_[i])
                                                      : memory.read(address_of(frames_[i]), held) && held == content(i);
            count += right ? 0U : 1U;
        }
        return count;
    }

private:
    [[nodiscard]] std::array<std::byte, 4096> content(std::size_t index) const {
        std::array<std::byte, 4096> page{};
        if (const std::uint64_t sequence = pages_[index].written; sequence != 0) {
            page.fill(static_cast<std::byte>(sequence * 37 + 1));
            store_little_endian(std::span<std::byte>(page), frames_[index].value);
            store_little_endian(std::span<std::byte>(page).subspan(4088), sequence);
        }
        return page;
    }

    std::vector<FrameNumber> frames_;
    std::vector<PageModel> pages_;
};

struct FakeSourceOptions {
    MemoryLayout layout = two_regions({2U << 20});
    std::size_t filled = 8; ///< of its pages, before anything runs
    unsigned writers = 0;
    std::chrono::microseconds pause{0}; ///< of a writer after each step
    std::size_t working_set = ~std::size_t{0};
    bool hints = false;
    bool ends_rounds = true;
    bool clears_hinted = false;              ///< before it hints it, as Linux does with init_on_alloc
    std::chrono::microseconds hint_pause{0}; ///< before each hint
    std::uint64_t seed = 1;
};

class FakeSource : public SourceGuest {
public:
    using Options = FakeSourceOptions;

    explicit FakeSource(Options options = {})
        : options_(std::move(options))
        , memory_(make_memory(options_.layout))
        , model_(memory_)
        , random_(options_.seed) {
        memory_.use_huge_pages(HugePages::refused, every_page); // what is populated is what was written
        for (std::size_t i = 0; i < std::min(options_.filled, model_.size()); ++i)
            model_.write(memory_, i * model_.size() / options_.filled, ++sequence_);
        CHECK(machine_.start());
        for (unsigned i = 0; i < options_.writers; ++i)
            writers_.emplace_back([this](const std::stop_token& stop) { write(stop); });
    }
    ~FakeSource() override {
        stop_writers();
        machine_.stop();
    }

    void stop_writers() {
        {
            const std::lock_guard lock(mutex_);
            for (auto& writer : writers_)
                writer.request_stop();
        }
        resting_.notify_all();
        writers_.clear();
        hinter_ = {};
    }
    /// Its content stays, and matters to nobody.
    void free(std::size_t index) {
        const std::lock_guard lock(mutex_);
        model_[index].allocated = false;
    }
    /// REQUIRES: no writers any more, or it is stopped.
    [[nodiscard]] std::size_t wrong(const GuestMemory& memory) { return model_.wrong(memory); }

    GuestMemory& memory() override { return memory_; }
    std::string config() override { return "a fake guest"; }
    std::vector<Attachment> attachments() override { return attached; }
    Result<> start_tracking() override {
        if (fail_tracking)
            return fail("no dirty log today");
        memory_.write_log().start();
        return {};
    }
    void gather(PageBitmap& written) override { memory_.write_log().take(written); }
    void stop_tracking() override { memory_.write_log().stop(); }

    void start_hinting(Hints hints, std::move_only_function<void(bool)> published) override {
        machine_.loop().post([this, hints = std::move(hints), published = std::move(published)]() mutable {
            if (!options_.hints)
                return published(false);
            ++hint_rounds;
            // What is free now was free after the ID; when the hint arrives it may have been taken again.
            std::vector<FrameNumber> free;
            {
                const std::lock_guard lock(mutex_);
                for (std::size_t i = 0; i < model_.size(); ++i)
                    if (!model_[i].allocated)
                        free.push_back(model_.frame(i));
            }
            published(true);
            hinter_ = std::jthread(
                [this, free = std::move(free), hints = std::move(hints)](const std::stop_token& stop) mutable {
                    for (const FrameNumber frame : free) {
                        if (stop.stop_requested())
                            return;
                        if (options_.hint_pause.count() > 0)
                            std::this_thread::sleep_for(options_.hint_pause);
                        if (options_.clears_hinted)
                            clear(frame);
                        hints.hinted->add({frame, {1}});
                    }
                    if (options_.ends_rounds)
                        hints.round_over();
                });
        });
    }
    void stop_hinting(std::move_only_function<void()> closed) override {
        machine_.loop().post([this, closed = std::move(closed)]() mutable {
            hinter_ = {};
            closed();
        });
    }
    void sync(std::move_only_function<void(Result<>)> synced) override {
        ++syncs;
        {
            const std::lock_guard lock(sync_mutex_);
            synced_ = std::move(synced);
        }
        machine_.loop().post([this] {
            std::this_thread::sleep_for(sync_takes);
            const std::lock_guard lock(sync_mutex_);
            if (auto answer = std::exchange(synced_, nullptr))
                answer(fail_sync ? Result<>(fail("a disk takes nothing any more")) : Result<>());
        });
    }
    void freeze(std::move_only_function<void(Result<>)> frozen) override {
        {
            const std::lock_guard lock(sync_mutex_);
            CHECK(!synced_);
        }
        ++freezes;
        machine_.loop().post([this, frozen = std::move(frozen)]() mutable {
            if (fail_freeze)
                return frozen(fail("a disk does not come to rest"));
            {
                const std::lock_guard lock(mutex_);
                running_ = false;
            }
            frozen({});
        });
    }
    void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) override {
        machine_.loop().post([this, saved = std::move(saved)]() mutable {
            if (fail_save)
                return saved(fail("a device cannot be saved"));
            saved(std::vector<std::byte>(state_size, std::byte{7}));
        });
    }
    void throttle(unsigned percent) override { throttled.push_back(percent); }
    void run_on() override {
        {
            const std::lock_guard lock(sync_mutex_);
            synced_ = nullptr;
        }
        ++run_ons;
        const std::lock_guard lock(mutex_);
        running_ = true;
        resting_.notify_all();
    }
    void gone() override { ++gones; }

    [[nodiscard]] bool running() {
        const std::lock_guard lock(mutex_);
        return running_ && gones == 0;
    }

    std::vector<Attachment> attached;
    bool fail_tracking = false;
    bool fail_sync = false;
    bool fail_freeze = false;
    std::chrono::milliseconds sync_takes{};
    int syncs = 0;
    int freezes = 0;
    bool fail_save = false;
    std::size_t state_size = 100;
    int run_ons = 0;
    int gones = 0;
    int hint_rounds = 0;
    std::vector<unsigned> throttled;
    std::atomic<std::uint64_t> steps{0};

private:
    void write(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            {
                std::unique_lock lock(mutex_);
                resting_.wait(lock, [&] { return running_ || stop.stop_requested(); });
                if (stop.stop_requested())
                    return;
                step();
            }
            ++steps;
            if (options_.pause.count() > 0)
                std::this_thread::sleep_for(options_.pause);
        }
    }
    void clear(FrameNumber frame) {
        const std::lock_guard lock(mutex_);
        for (std::size_t i = 0; i < model_.size(); ++i)
            if (model_.frame(i) == frame && !model_[i].allocated)
                CHECK(memory_.fill(address_of(frame), page_size, std::byte{0}));
    }
    void step() {
        const std::size_t index = random_() % std::min(model_.size(), options_.working_set);
        switch (random_() % 8) {
        case 0:
        case 1:
            model_[index].allocated = false;
            return;
        case 2:
            return model_.discard(memory_, index);
        default:
            model_.write(memory_, index, ++sequence_);
        }
    }

    Options options_;
    GuestMemory memory_;
    std::mutex mutex_; ///< for all below
    GuestModel model_;
    std::mt19937_64 random_;
    std::uint64_t sequence_ = 0;
    bool running_ = true;
    std::condition_variable resting_;
    std::vector<std::jthread> writers_;
    std::jthread hinter_; ///< the machine's
    std::mutex sync_mutex_;
    std::move_only_function<void(Result<>)> synced_; ///< null: no sync is under way, or its answer is not wanted
    LoopThread machine_{"machine"};
};

class FakeDestination final : public DestinationGuest {
public:
    Result<GuestMemory*> prepare(const std::string& config, std::span<const MemoryRegion> regions) override {
        if (fail_prepare)
            return fail("not enough memory");
        if (config != "a fake guest")
            return fail("this is no configuration of a fake guest");
        auto made = GuestMemory::create({{regions.begin(), regions.end()}, Backing::anonymous});
        if (!made)
            return std::unexpected(std::move(made).error());
        memory_.emplace(std::move(*made));
        return &*memory_;
    }
    Result<> attach(Attachment::Kind kind, ByteCount length, std::span<const std::byte> piece) override {
        auto& [whole, bytes] = attached[static_cast<std::size_t>(kind)];
        whole = length;
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        return fail_attach ? fail("no room for it") : Result<>();
    }
    Result<> load(std::span<const std::byte> state) override {
        if (fail_load || !std::ranges::all_of(state, [](std::byte b) { return b == std::byte{7}; }))
            return fail("the devices' state is inconsistent");
        loaded = state.size();
        return {};
    }
    Result<> run() override {
        if (fail_run)
            return fail("cannot run");
        running = true;
        return {};
    }
    void discard() override {
        CHECK(!running && memory_);
        memory_.reset();
        ++discards;
    }
    [[nodiscard]] GuestMemory* memory() { return memory_ ? &*memory_ : nullptr; }

    bool fail_prepare = false;
    bool fail_attach = false;
    bool fail_load = false;
    bool fail_run = false;
    std::array<std::pair<ByteCount, std::vector<std::byte>>, 2> attached; ///< length and what came, by kind
    std::size_t loaded = 0;
    bool running = false;
    int discards = 0;

private:
    std::optional<GuestMemory> memory_;
};

/// One page with content, or, so that a cut at each byte can be tried, none.
inline FakeSource::Options tiny(std::size_t filled = 1) {
    return {.layout = {{{{0}, {2U << 20}}}, Backing::anonymous}, .filled = filled};
}

} // namespace aerate::migration::testing
