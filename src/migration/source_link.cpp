#include "migration/source_link.hpp"

#include "base/regular_file.hpp"
#include "migration/wire/bytes.hpp"

#include <algorithm>

namespace aerate::migration {
namespace {

constexpr std::size_t piece_of_state = 1U << 20;
constexpr std::size_t piece_of_attachment = 1U << 20;
constexpr std::size_t ranges_a_frame = 1U << 15;
constexpr std::chrono::milliseconds last_words{100};

} // namespace

/// Sends the frame that was begun.
Result<> SourceLink::say(FrameKind kind) {
    if (kind == FrameKind::alive || kind == FrameKind::go || kind == FrameKind::sum_up)
        (void)writer_.begin();
    if (auto sent = writer_.send(kind); !sent)
        return std::unexpected(explained(std::move(sent).error()));
    return {};
}

Error SourceLink::explained(Error error) {
    if (error.system_error != EPIPE && error.system_error != ECONNRESET)
        return error;
    constexpr int frames_on_the_way = 4;
    for (int i = 0; i < frames_on_the_way; ++i)
        if (const auto frame = reader_.receive(last_words); !frame)
            break;
        else if (frame->kind == FrameKind::error)
            return {"the destination has ended the migration: " + parse_error(frame->payload), 0};
    return error;
}

Result<Frame> SourceLink::expect(FrameKind kind) {
    const Frame frame = TRY(receive());
    if (frame.kind == FrameKind::error)
        return fail("the destination has refused the migration: {}", parse_error(frame.payload));
    if (frame.kind != kind)
        return fail("the destination sent {} when {} was expected", name_of(frame.kind), name_of(kind));
    return frame;
}

Result<> SourceLink::shake_hands(const Hello& hello) {
    TRY(connection_->open(deadline_));
    const auto greeted = expect(FrameKind::greeting);
    if (const int why = greeted ? 0 : greeted.error().system_error; why == timeout_error || why == ECONNRESET)
        return fail("{}, before its greeting: does it expect TLS, or is another guest on its way there?",
                    greeted.error().message);
    const Greeting greeting = TRY(parse_greeting(TRY(greeted).payload));
    session_ = greeting.session;
    writer_.set_session(session_);
    reader_.set_session(session_);
    TRY(check_peer(greeting, hello.features));
    Hello agreed = hello;
    agreed.version = std::min(version, greeting.newest);
    attachments_ = (greeting.features & feature_attachments) != 0;
    if (attachments_)
        agreed.features |= feature_attachments;
    print(writer_.begin(), agreed);
    TRY(say(FrameKind::hello));
    TRY(expect(FrameKind::accept));
    return {};
}

Result<bool> SourceLink::send_attachments(std::span<const Attachment> attachments) {
    if (!attachments_)
        return false;
    std::vector<std::byte> bytes(piece_of_attachment);
    for (const Attachment& attachment : attachments)
        for (ByteCount done{}; done < attachment.length; done += ByteCount{piece_of_attachment}) {
            const auto piece =
                std::span(bytes).first(std::min<std::size_t>(piece_of_attachment, (attachment.length - done).value));
            if (auto read = read_at(attachment.fd, piece, attachment.offset + done); !read)
                return fail_because(std::move(read).error(),
                                    "cannot send the guest's kernel and initrd (cut while they are read? try again)");
            print(writer_.begin(),
                  AttachmentPiece{static_cast<std::uint8_t>(attachment.kind), attachment.length.value, piece});
            TRY(say(FrameKind::attachment));
        }
    return true;
}

Result<> SourceLink::send_round(const Round& round) {
    print(writer_.begin(), round);
    return say(FrameKind::round);
}

Result<> SourceLink::send_unneeded(const PageBitmap& pages) {
    PageRange run = pages.next_run({0});
    while (run.count > PageCount{}) {
        auto& payload = writer_.begin();
        for (std::size_t n = 0; n < ranges_a_frame && run.count > PageCount{}; ++n, run = pages.next_run(run.end())) {
            append(payload, run.first.value);
            append(payload, run.count.value);
        }
        TRY(say(FrameKind::unneeded));
    }
    return {};
}

Result<> SourceLink::send_state(std::span<const std::byte> state) {
    while (!state.empty()) {
        const auto piece = state.first(std::min(state.size(), piece_of_state));
        append(writer_.begin(), piece);
        TRY(say(FrameKind::state));
        state = state.subspan(piece.size());
    }
    return {};
}

Result<Sums> SourceLink::send_state_end(std::size_t length, const Transcript& others, std::uint64_t memory_root) {
    const auto frames = [&] { return writer_.transcript().value + others.value; };
    print(writer_.begin(), StateEnd{length, {frames(), memory_root}});
    TRY(say(FrameKind::state_end));
    return Sums{frames(), memory_root};
}

Result<> SourceLink::send_go() {
    connection_->ignore_interrupts();
    return say(FrameKind::go);
}

void SourceLink::send_error(const std::string& text) {
    connection_->ignore_interrupts();
    writer_.set_limit(last_words);
    const std::string_view shortened = std::string_view(text).substr(0, 1024);
    (void)writer_.send(FrameKind::error, std::as_bytes(std::span(shortened)));
}

} // namespace aerate::migration
