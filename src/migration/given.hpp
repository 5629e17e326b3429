// The durable note that a guest was given away: who would start it here again finds it, and asks the lease who has it.
//
//     note = TRY(record_given(directory, session, {.guest = "web", .terms = terms}));  // before GO
//     TRY(check_not_given(directory, "web", lease));                                   // before it is started again
#pragma once

#include "base/error.hpp"
#include "migration/lease.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace aerate::migration {

struct Given {
    std::string guest{};                 ///< its name; empty: not known, as in a note of an older release
    std::optional<Lease::Terms> terms{}; ///< of the migration's lease; none: it had none
    bool operator==(const Given&) const = default;

    [[nodiscard]] std::string text() const;
    [[nodiscard]] static Result<Given> parse(std::string_view text);
};

/// Writes a durable note, `directory`/given-SESSION. Returns its path.
[[nodiscard]] Result<std::string> record_given(const std::string& directory, const Session&, const Given&);
void forget_given(const std::string& path);

/// Fails if a note in the directory says that this guest was given away, and the lease (null: there is none) does not
/// say that it is ours. What the lease has decided for this side is forgotten: no note of it is left.
[[nodiscard]] Result<> check_not_given(const std::string& directory, std::string_view guest, Lease*);

} // namespace aerate::migration
