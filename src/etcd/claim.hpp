// A lease as a key of etcd, and what is asked and answered about it, as JSON of etcd's gateway (rpc.proto of etcd 3.4).
// Nothing here has effects.
//
// The value is "ID -", and after a claim "ID SESSION SIDE". etcd counts how often a key was written: its version, less
// one, is the lease's epoch. So a claim is one transaction, which writes if the ID and the version are still those of
// the terms; all that is asked is a transaction with a write in it, which etcd's majority agrees on, and never a
// member's own notion. The key has no time to live: the first claim of a session wins, for ever.
#pragma once

#include "base/error.hpp"
#include "migration/lease.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace aerate::etcd {

struct Holder {
    migration::Lease::Terms terms;
    std::optional<migration::Session> last{}; ///< which claimed last, and its side; none: nobody has claimed
    migration::Side side{};
    bool operator==(const Holder&) const = default;
};

struct Outcome {
    bool succeeded = false;
    std::optional<Holder> holder{}; ///< if it did not succeed; none: there is no such key
};

/// Returns a transaction that makes the key, with this ID, if it is not there, and reads it if it is.
[[nodiscard]] std::string creation(std::string_view key, const std::array<std::byte, 16>& id);
/// Returns one that claims the lease if the terms are still its, and reads it if they are not.
[[nodiscard]] std::string claim(std::string_view key, const migration::Lease::Terms&, const migration::Session&,
                                migration::Side);
[[nodiscard]] Result<Outcome> parse_outcome(std::string_view body, std::string_view key);

/// Returns what a claim came to: true if the lease is ours, also by an earlier claim of the same session.
[[nodiscard]] Result<bool> judge(const Outcome&, const migration::Lease::Terms&, const migration::Session&,
                                 migration::Side);

[[nodiscard]] std::string login(std::string_view user, std::string_view password);
/// Returns the token that a login was answered with: text that can stand in a header.
[[nodiscard]] Result<std::string> parse_token(std::string_view body);
/// Returns etcd's own words about why it refused, fit to be shown; empty: it has none.
[[nodiscard]] std::string parse_refusal(std::string_view body);

} // namespace aerate::etcd
