// The migration hand-off in the small: both sides run the shipping code of protocol/hand_off.hpp, over a channel that
// may be cut at any moment, with time limits that may strike at any moment, and either side may be killed.
#pragma once

#include "protocol/hand_off.hpp"
#include "prove/trace.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::prove {

/// What others do, to show what it costs.
enum class HandOffFault : std::uint8_t {
    none,
    run_on_state,   ///< the destination runs as soon as it has everything, and says so
    resume_after_go ///< the source resumes after a cut, GO or no GO
};

struct HandOffSetting {
    bool has_lease = true;
    HandOffFault fault = HandOffFault::none;
    bool crashes = true;
};

enum class HandOffAction : std::uint8_t {
    all_sent,
    source_acts,    ///< carries out what it decided last
    source_trouble, ///< a time limit, a cut noticed, a cancellation
    deliver_to_source,
    source_dies,
    destination_acts,
    destination_trouble,
    deliver_to_destination,
    destination_dies,
    cut, ///< what is on the way is lost, and all that follows
};

class HandOffModel {
public:
    static constexpr Verdict when_nothing_is_possible = Verdict::none_running;

    enum class Message : std::uint8_t { state, ready, go, ack, refused };
    enum class Owner : std::uint8_t { nobody, source, destination };
    struct Channel {
        std::array<Message, 4> messages{};
        std::uint8_t count = 0;
    };
    struct State {
        protocol::HandOffSource source;
        protocol::HandOffDestination destination;
        std::optional<protocol::HandOffSource::Effect> source_effect;
        std::optional<protocol::HandOffDestination::Effect> destination_effect;
        bool source_runs = true;
        bool destination_runs = false;
        bool source_dead = false;
        bool destination_dead = false;
        bool is_cut = false;
        Channel to_source;
        Channel to_destination;
        Owner lease = Owner::nobody;
    };

    explicit HandOffModel(const HandOffSetting& setting)
        : setting_(setting) {}

    [[nodiscard]] State initial() const;
    [[nodiscard]] Actions actions(const State&) const;
    Verdict apply(State&, Action) const;
    [[nodiscard]] bool finished(const State&) const;
    [[nodiscard]] std::uint64_t fingerprint(const State&) const;

private:
    void act(State&, protocol::HandOffSource::Effect) const;
    void act(State&, protocol::HandOffDestination::Effect) const;
    void tell(State&, protocol::HandOffSource::Event) const;
    void tell(State&, protocol::HandOffDestination::Event) const;

    HandOffSetting setting_;
};

} // namespace aerate::prove
