// What the page shows and asks for, by whoever knows it: the daemon. All of it on the loop's thread.
#pragma once

#include "base/units.hpp"
#include "control/host_status.hpp"
#include "control/request.hpp"
#include "control/schema.hpp"

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace aerate::web {

inline constexpr std::size_t map_cells_max = 1024;

/// A VM's memory in equal cells, from its lowest address on. A letter says what most of a cell is: '.' absent,
/// 'r' resident, 'b' ballooned, 'p' reported, 'h' hinted free, 's' shared with its snapshot, 'd' dirty.
struct MemoryMap {
    ByteCount cell{};
    std::string cells{}; ///< at most map_cells_max
    static constexpr std::string_view object = "map";
    static void describe(auto& fields, auto& self) {
        fields("cell_bytes", self.cell, control::mandatory);
        fields("cells", self.cells, control::mandatory);
    }
    bool operator==(const MemoryMap&) const = default;
};

struct Sweep {
    bool operator==(const Sweep&) const = default;
};
struct Squeeze {
    bool operator==(const Squeeze&) const = default;
};
struct Pause {
    bool operator==(const Pause&) const = default;
};
struct Resume {
    bool operator==(const Resume&) const = default;
};
struct SetBalloon {
    ByteCount target{};
    static constexpr std::string_view object = "balloon";
    static void describe(auto& fields, auto& self) { fields("target_bytes", self.target, control::mandatory); }
    bool operator==(const SetBalloon&) const = default;
};
using Action = std::variant<Sweep, Squeeze, Pause, Resume, SetBalloon>;

template <typename T>
using Outcome = std::expected<T, control::Failure>;
/// Call it once, now or later; dropped uncalled, the caller is told that nobody knows what came of it.
template <typename T>
using Answer = std::move_only_function<void(Outcome<T>)>;

class Source {
public:
    virtual ~Source() = default;

    /// Stays as it is until the next tick.
    [[nodiscard]] virtual const control::HostStatus& status() const = 0;
    /// Returns the last ten minutes as JSON: docs/host-page.md.
    [[nodiscard]] virtual std::string history() const = 0;
    /// Returns the last decisions about a VM as JSON. Names here are valid ones, and need not be of a VM: 404.
    [[nodiscard]] virtual Outcome<std::string> decisions(std::string_view vm) const = 0;
    virtual void map(std::string_view vm, Answer<MemoryMap>) = 0;
    /// Answers what came of it, in words.
    virtual void act(std::string_view vm, const Action&, Answer<std::string>) = 0;

    /// Has `f` called after each tick for as long as what is returned lives.
    using Listener = std::shared_ptr<void>;
    [[nodiscard]] virtual Listener on_tick(std::function<void()> f) = 0;
};

} // namespace aerate::web
