// Where a lease is in etcd, and what it takes to be let in:
//
//     etcd:HOST:PORT[,HOST:PORT...]/NAME[,ca=FILE][,cert=FILE,key=FILE][,login=FILE][,plain]
//
// The whole of it is one word, so that it goes wherever the path of a lease's file goes: flags, the API, a
// configuration.
#pragma once

#include "base/error.hpp"
#include "migration/link/endpoint.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace aerate::etcd {

struct Address {
    std::vector<migration::Endpoint> members; ///< one or more, asked in this order
    std::string name;                         ///< of the lease
    std::string ca_path{};                    ///< PEM: who signed the members' certificates; empty: plain
    std::string certificate_path{};           ///< of this client, and its key; empty: none
    std::string key_path{};
    std::string login_path{}; ///< a file with USER:PASSWORD; empty: etcd asks for none

    static constexpr std::string_view prefix = "etcd:";
    static constexpr std::size_t max_members = 16;

    /// Fails unless the connection is protected by an authority, or is said to be plain.
    [[nodiscard]] static Result<Address> parse(std::string_view text);
    [[nodiscard]] static bool is_one(std::string_view text) { return text.starts_with(prefix); }
    [[nodiscard]] std::string key() const { return "aerate/lease/" + name; }
};

/// "10.0.0.1:2379", without the "tcp:" of other addresses.
[[nodiscard]] std::string host_and_port(const migration::Endpoint&);

} // namespace aerate::etcd
