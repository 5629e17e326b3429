// Writes what a source sends, sound or not, for a destination alone.
#pragma once

#include "migration/testing/fake_guest.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"
#include "migration/wire/page_frame.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

namespace aerate::migration::testing {

using namespace std::chrono_literals;

inline Session known_session() {
    Session session;
    session.value.fill(std::byte{0x33});
    return session;
}

inline const MemoryLayout small_layout{{{{0}, {2U << 20}}}, Backing::anonymous};
inline const MemoryLayout layout_with_hole = two_regions({2U << 20});

/// Takes what FrameWriter sends.
class Recorder final : public Channel {
public:
    Result<> send(std::span<const std::byte> bytes, std::chrono::milliseconds) override {
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        return {};
    }
    Result<> receive(std::span<std::byte>, std::chrono::milliseconds) override { return fail("only records"); }
    [[nodiscard]] std::chrono::nanoseconds waited() const override { return {}; }

    std::vector<std::byte> stream;
};

inline Hello hello_for(const MemoryLayout& layout) {
    Hello hello;
    hello.regions = layout.regions;
    hello.config = "a fake guest";
    return hello;
}

/// The payload of a frame of pages: one run, whose content is all of one byte.
inline void append_run(std::vector<std::byte>& payload, std::uint64_t first, std::uint32_t count, PageRun::Kind kind,
                       std::byte content) {
    const std::uint32_t length = kind == PageRun::Kind::data ? count * 4096 : 0;
    for (const std::uint32_t value : {1U, length, length, 0U})
        append(payload, value);
    payload.resize(payload.size() + length, content);
    append(payload, first);
    append(payload, count);
    append(payload, static_cast<std::uint32_t>(kind));
}

/// Writes a stream, sound unless told otherwise.
class Script {
public:
    explicit Script(const Session& session = known_session())
        : recorder_(std::make_unique<Recorder>())
        , writer_(*recorder_, 0, 1s) {
        writer_.set_session(session);
    }
    Script& frame(FrameKind kind, std::span<const std::byte> payload = {}) {
        EXPECT_TRUE(writer_.send(kind, payload));
        return *this;
    }
    template <typename Message>
    Script& message(FrameKind kind, const Message& message) {
        print(writer_.begin(), message);
        EXPECT_TRUE(writer_.send(kind));
        return *this;
    }
    Script& hello(const MemoryLayout& layout = small_layout) { return message(FrameKind::hello, hello_for(layout)); }
    Script& round(std::uint32_t number, bool last = false) { return message(FrameKind::round, Round{number, last}); }
    /// One run, whose content is all of one byte.
    Script& pages(std::uint64_t first, std::uint32_t count, PageRun::Kind kind = PageRun::Kind::data) {
        std::vector<std::byte> payload;
        append_run(payload, first, count, kind, std::byte{0x11});
        return frame(FrameKind::pages, payload);
    }
    Script& numbers(FrameKind kind, std::initializer_list<std::uint64_t> values) {
        std::vector<std::byte> payload;
        for (const std::uint64_t value : values)
            append(payload, value);
        return frame(kind, payload);
    }
    Script& state(std::size_t length = 100) {
        return frame(FrameKind::state, std::vector<std::byte>(length, std::byte{7}));
    }
    Script& state_end(std::uint64_t length = 100) {
        return message(FrameKind::state_end, StateEnd{length, {writer_.transcript().value, 0}});
    }
    Script& go() { return frame(FrameKind::go); }
    /// All that a migration needs.
    static Script whole() {
        Script script;
        script.hello().round(1).pages(3, 1).round(2, true).pages(3, 1, PageRun::Kind::zero).state().state_end().go();
        return script;
    }
    [[nodiscard]] std::vector<std::byte>& stream() { return recorder_->stream; }
    [[nodiscard]] std::size_t length() const { return recorder_->stream.size(); }

private:
    std::unique_ptr<Recorder> recorder_; // where it is, however this moves
    FrameWriter writer_;
};

} // namespace aerate::migration::testing
