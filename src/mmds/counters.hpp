// What the metadata service has done for its guest: on the cards' loops and on the main loop, read on the latter.
#pragma once

#include <atomic>
#include <cstdint>

namespace aerate::mmds {

struct Counters {
    using Count = std::atomic<std::uint64_t>;
    Count frames_taken{0};       ///< of the guest's, that were for the service
    Count frames_refused{0};     ///< of those, by the kernel's stack
    Count frames_sent{0};        ///< to the guest
    Count bytes_sent{0};         ///< in those
    Count connections_begun{0};  ///< by the guest
    Count connections_ended{0};  ///< by anyone
    Count requests_no_token{0};  ///< that needed one
    Count requests_bad_token{0}; ///< whose token was none of ours, or is over
};

} // namespace aerate::mmds
