// A hostile source of a migration: the input is a list of frames, each a kind, a length and a payload, which get sound
// headers (a fuzzer does not guess sums), so that everything behind the sums is reached.
// Nothing may be left of a guest that does not run.
#include "base/check.hpp"
#include "migration/destination.hpp"
#include "migration/wire/delta_frame.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"
#include "script.hpp"

#include <sys/socket.h>

#include <array>
#include <optional>
#include <thread>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;

class Guest final : public DestinationGuest {
public:
    Result<GuestMemory*> prepare(const std::string&, std::span<const MemoryRegion> regions) override {
        std::uint64_t size = 0;
        for (const MemoryRegion& region : regions)
            size += region.length.value;
        if (size > (8U << 20))
            return fail("too large for a fuzzer");
        auto made = GuestMemory::create({{regions.begin(), regions.end()}, Backing::anonymous});
        if (!made)
            return std::unexpected(std::move(made).error());
        memory.emplace(std::move(*made));
        return &*memory;
    }
    Result<> attach(Attachment::Kind kind, ByteCount length, std::span<const std::byte> piece) override {
        auto& came = attached.at(static_cast<std::size_t>(kind));
        came += ByteCount{piece.size()};
        CHECK(!piece.empty() && came <= length && length <= memory->size());
        return {};
    }
    Result<> load(std::span<const std::byte> state) override {
        CHECK(state.size() <= max_state);
        return {};
    }
    Result<> run() override {
        CHECK(memory && !running);
        running = true;
        return {};
    }
    void discard() override {
        CHECK(memory && !running);
        memory.reset();
    }

    std::optional<GuestMemory> memory;
    std::array<ByteCount, 2> attached{};
    bool running = false;
};

class ToSocket final : public Channel {
public:
    explicit ToSocket(int fd)
        : fd_(fd) {}
    Result<> send(std::span<const std::byte> bytes, std::chrono::milliseconds) override {
        // More than a socket's buffer holds would wait for a reader who has not begun.
        if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(bytes.size()))
            return fail("full");
        return {};
    }
    Result<> receive(std::span<std::byte>, std::chrono::milliseconds) override { return fail("never"); }
    [[nodiscard]] std::chrono::nanoseconds waited() const override { return {}; }

private:
    int fd_;
};

constexpr unsigned end_of_state = static_cast<unsigned>(FrameKind::state_end);

void drive(fuzz::Script script) {
    std::array<int, 2> fds{};
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
    const FileDescriptor ours(fds[0]);
    Session session;
    session.value.fill(std::byte{1});
    ToSocket channel(ours.get());
    FrameWriter writer(channel, 0, 1ms);
    writer.set_session(session);
    std::uint64_t state = 0;
    while (!script.ended()) {
        const unsigned kind = script.below(frame_kinds + 1);
        const std::size_t length = script.take<std::uint16_t>();
        auto& payload = writer.begin();
        if (static_cast<FrameKind>(kind) == FrameKind::deltas && script.below(4) != 0) {
            // A base's sum is not guessed either: pages that the input fills with one byte are bases.
            std::array<std::byte, page_size.value> base;
            base.fill(static_cast<std::byte>(script.take<std::uint8_t>()));
            auto now = base;
            for (std::size_t i = 0; i < length % 64; ++i)
                now[script.take<std::uint16_t>() % now.size()] = static_cast<std::byte>(script.take<std::uint8_t>());
            DeltaFrameBuilder builder;
            if (builder.add({script.take<std::uint16_t>()}, base, now)) {
                const auto made = builder.finish();
                payload.assign(made.begin(), made.end());
            }
        } else if (kind == end_of_state && script.below(4) != 0) {
            // The right answer, which no fuzzer finds.
            print(payload, StateEnd{state, {writer.transcript().value, script.take<std::uint64_t>()}});
        } else {
            for (std::size_t i = 0; i < length && !script.ended(); ++i)
                payload.push_back(static_cast<std::byte>(script.take<std::uint8_t>()));
            // The rest of a page need not be in the input.
            payload.resize(frame_header_size + length);
        }
        if (static_cast<FrameKind>(kind) == FrameKind::state)
            state += length;
        if (!writer.send(static_cast<FrameKind>(kind)))
            return;
    }
    CHECK(::shutdown(ours.get(), SHUT_WR) == 0);

    Guest guest;
    Destination destination(FileDescriptor(fds[1]), guest, {.deadline = 1000ms, .max_rounds = 20, .session = session});
    const auto report = destination.receive();
    CHECK(report.has_value() == guest.running);
    CHECK(guest.running || !guest.memory);
}

} // namespace
} // namespace aerate::migration

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    aerate::migration::drive({data, size});
    return 0;
}
