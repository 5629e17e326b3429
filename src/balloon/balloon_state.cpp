#include "balloon/balloon_state.hpp"

#include "base/codec.hpp"

namespace aerate {

template <typename Codec>
void describe(Codec& codec, Described<Codec, PageRange>& range) {
    codec(range.first.value, range.count.value);
}

} // namespace aerate

namespace aerate::balloon {
namespace {

// A later version adds fields behind these, and its description asks which version it reads.
constexpr std::uint32_t state_version = 1;

} // namespace

template <typename Codec>
void describe(Codec& codec, Described<Codec, BalloonState>& balloon) {
    codec(balloon.target, balloon.actual, balloon.poison_value, balloon.last_command.value, balloon.ballooned,
          balloon.reported);
}

virtio::DeviceState encode(const BalloonState& balloon) {
    Encoder encoder;
    encoder(balloon);
    return {.version = state_version, .bytes = encoder.take()};
}

Result<BalloonState> decode(const virtio::DeviceState& state) {
    if (state.version == 0 || state.version > state_version)
        return fail("its state has version {}, this monitor reads up to {}: use the monitor that saved it, or a later "
                    "one",
                    state.version, state_version);
    BalloonState balloon;
    Decoder decoder(state.bytes);
    decoder(balloon);
    if (!decoder.complete())
        return fail("its saved state is malformed");
    return balloon;
}

} // namespace aerate::balloon
