// Files under our mappings that another process can cut short, or whose filesystem is full: an access there raises
// SIGBUS, which would end this process and every guest in it.
//
// Seals would forbid it (F_SEAL_SHRINK), but not every front-end's file can have them: User Mode Linux's is an
// unlinked file of some filesystem. So a handler puts anonymous zero pages in the file's place and lets the access go
// on. The mapping is lost from then on; its owner asks or is told, and lets that guest run no further.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace aerate {

class FileLossWatch {
public:
    /// More than all guests of a vhost-user daemon can have. An entry that was never used costs no memory.
    static constexpr std::size_t mappings_max = 1U << 17;

    /// What zero pages are put in place of.
    enum class StandIn : std::uint8_t {
        mapping, ///< all of it, once its owner shares it with another process and nothing in it is valid any longer
        page,    ///< the page that was touched: what is the guest's own stays; of the rest nothing is written to a disk
    };

    /// Installs the process's SIGBUS handler the first time. Other SIGBUS end the process as ever. Fails when too many
    /// mappings are watched. `event`: an eventfd that is signalled at each loss, which must stay open. REQUIRES: the
    /// mapping outlives the watch.
    [[nodiscard]] static Result<FileLossWatch> start(std::span<std::byte> mapping, StandIn = StandIn::mapping,
                                                     int event = -1);
    FileLossWatch(FileLossWatch&& other) noexcept
        : slot_(std::exchange(other.slot_, std::nullopt)) {}
    FileLossWatch& operator=(FileLossWatch&&) = delete;
    ~FileLossWatch();

    /// Any thread.
    [[nodiscard]] bool lost() const;

private:
    explicit FileLossWatch(std::size_t slot)
        : slot_(slot) {}
    std::optional<std::size_t> slot_;
};

} // namespace aerate
