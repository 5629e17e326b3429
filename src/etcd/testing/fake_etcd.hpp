// Members of an etcd cluster that keep one store among them: the gateway's transactions and logins, over real sockets
// of this host's loopback. What each does to its answers is the test's choice.
#pragma once

#include "base/fd.hpp"
#include "etcd/address.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace aerate::etcd::testing {

/// What a member does with the answer that it would give: returns what it sends, after which it closes. Called on the
/// member's thread.
using Spoil = std::function<std::string(const std::string& answer)>;

class FakeEtcd {
public:
    explicit FakeEtcd(std::size_t members);
    ~FakeEtcd();

    /// Returns "etcd:...", with all members, or from that one on.
    [[nodiscard]] std::string address(std::size_t first = 0) const;
    void spoil(std::size_t member, Spoil how);
    /// Carries each question out twice, as when the first answer was lost on its way.
    void carry_out_twice(bool twice);
    void want_login(std::string user_and_password);
    /// Forgets which tokens it has given.
    void forget_logins();
    [[nodiscard]] unsigned logins() const;
    [[nodiscard]] unsigned questions() const;
    void remove(const std::string& key);
    /// Sets the value of a key, as somebody else's program would.
    void put(const std::string& key, const std::string& value);

private:
    struct Pair {
        std::string value;
        std::int64_t created = 0;
        std::int64_t version = 0;
    };
    struct Member {
        FileDescriptor listener;
        unsigned port = 0;
        Spoil spoil;
        std::jthread thread;
    };
    void serve(Member&);
    [[nodiscard]] std::string answer_to(const std::string& request);
    [[nodiscard]] nlohmann::json transact(const nlohmann::json& question);
    [[nodiscard]] bool holds(const nlohmann::json& compare);
    void write(const std::string& key, const std::string& value);

    mutable std::mutex lock_;
    std::vector<std::unique_ptr<Member>> members_;
    std::map<std::string, Pair> pairs_; ///< by what JSON has for the key
    std::int64_t revision_ = 1;
    bool twice_ = false;
    std::string login_;
    std::string token_ = "none";
    unsigned logins_ = 0;
    unsigned questions_ = 0;
};

} // namespace aerate::etcd::testing
