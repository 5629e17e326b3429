#include "migration/destination.hpp"

#include "migration/destination_engine.hpp"

#include <algorithm>
#include <utility>

namespace aerate::migration {
namespace {

using Effect = protocol::HandOffDestination::Effect;
using Event = protocol::HandOffDestination::Event;

/// Long enough for the source to read what was said last.
constexpr std::chrono::milliseconds farewell{500};

} // namespace

Result<DestinationReport> Destination::Engine::receive() {
    if (!interrupt_)
        return std::unexpected(interrupt_.error());
    channel_ = connect_channel(std::move(socket_), *interrupt_, options_.tls, TlsSide::server);
    writer_.emplace(*channel_, 0, options_.deadline);
    reader_.emplace(*channel_, 0);
    hand_off_.has_lease = options_.lease != nullptr;
    auto result = greet();
    while (result && !running_)
        result = take_frame();
    if (!result) {
        // A stream that breaks interrupts this one: it knows why.
        const Error why = further_.failure().value_or(std::move(result).error());
        give_up(why);
        return std::unexpected(why);
    }
    const auto further = further_.sums();
    report_.wire = reader_->received() + further_.received();
    report_.pages = lane_.pages + further.pages;
    report_.deltas = lane_.deltas + further.deltas;
    report_.zero = lane_.zero + further.zero;
    return report_;
}

Result<> Destination::Engine::greet() {
    TRY(channel_->open(options_.deadline));
    open_ = true;
    if (options_.lease != nullptr) // strangers cause no questions to it
        lease_ = TRY(options_.lease->terms());
    session_ = options_.session ? *options_.session : Session::random();
    TRY(send(FrameKind::greeting, Greeting{.session = session_}));
    writer_->set_session(session_);
    reader_->set_session(session_);
    return {};
}

Result<> Destination::Engine::tell(Event event) {
    const auto effect = protocol::step(hand_off_, event);
    if (!effect)
        return {};
    switch (*effect) {
    case Effect::send_ready:
        phase_ = ReceiverPhase::ready;
        return send(FrameKind::ready, sums_);
    case Effect::claim:
        return claim();
    case Effect::run_and_ack:
        return run();
    case Effect::send_mismatch: // give_up() says it
    case Effect::discard:
        return {};
    }
    return {};
}

/// Claims the lease. An error means that it is unknown which side has it: then the guest does not run here.
Result<> Destination::Engine::claim() {
    channel_->ignore_interrupts();
    const auto won = options_.lease->claim(*lease_, session_, Side::destination);
    if (won && *won)
        return tell(Event::won);
    (void)tell(Event::lost);
    if (!won)
        return std::unexpected(won.error());
    return fail("the source has taken the guest back: GO came too late");
}

Result<> Destination::Engine::run() {
    channel_->ignore_interrupts();
    TRY(guest_.run());
    running_ = true;
    // It runs, whether or not the source hears of it.
    if (writer_->send(FrameKind::ack, {}))
        channel_->finish(std::min(farewell, options_.deadline));
    return {};
}

void Destination::Engine::give_up(const Error& error) {
    (void)tell(Event::trouble);
    further_.stop();
    if (memory_ != nullptr)
        guest_.discard();
    channel_->ignore_interrupts();
    const auto patience = std::min(farewell, options_.deadline);
    if (!open_)
        return channel_->finish(patience);
    const auto text = std::as_bytes(std::span(error.message)).first(std::min<std::size_t>(error.message.size(), 1024));
    writer_->set_limit(patience);
    if (writer_->send(FrameKind::error, text))
        channel_->finish(patience);
}

Destination::Destination(FileDescriptor socket, DestinationGuest& guest, DestinationOptions options)
    : engine_(std::make_unique<Engine>(std::move(socket), guest, std::move(options))) {}
Destination::~Destination() = default;
Result<DestinationReport> Destination::receive() {
    return engine_->receive();
}
DestinationProgress Destination::progress() const {
    return engine_->progress();
}
std::chrono::milliseconds Destination::idle() const {
    return engine_->idle();
}
void Destination::cancel() {
    engine_->cancel();
}

} // namespace aerate::migration
