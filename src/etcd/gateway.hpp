// Asks an etcd cluster by the JSON gateway of its members, one after the other until one answers.
//
//     auto gateway = TRY(Gateway::open(address, {}));
//     TRY(gateway->ask("/v3/kv/txn", body, [&](std::string_view answer) -> Result<> { ...; }));
//
// What is asked may be carried out several times, or after ask() has failed: only what is idempotent may be asked.
#pragma once

#include "base/error.hpp"
#include "etcd/address.hpp"
#include "etcd/http.hpp"
#include "event/event_fd.hpp"
#include "migration/link/channel.hpp"
#include "migration/link/tls.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::etcd {

struct TimeLimits {
    std::chrono::milliseconds overall{5000}; ///< for the answer to one question
    std::chrono::milliseconds member{1000};  ///< for one attempt: a leader's death is over in two
    std::chrono::milliseconds login{2500};   ///< for one of a login, which a member spends a while of work on (bcrypt)
    std::chrono::milliseconds pause{50};     ///< after all members have failed
};

/// One thread at a time.
class Gateway {
public:
    /// Loads credentials; connects to nobody.
    [[nodiscard]] static Result<std::unique_ptr<Gateway>> open(const Address&, TimeLimits);

    /// Returns an error if a member's answer is not one, so that the next member is asked.
    using Take = std::function<Result<>(std::string_view body)>;
    /// Fails when no member has given an answer that `take` accepts within the time.
    [[nodiscard]] Result<> ask(std::string_view path, const std::string& body, const Take& take);

private:
    using Clock = migration::SocketChannel::Clock;
    struct Failure;

    Gateway(Address address, TimeLimits limits, EventFd never)
        : address_(std::move(address))
        , limits_(limits)
        , never_(std::move(never)) {}
    [[nodiscard]] Result<> load();
    [[nodiscard]] std::expected<void, Failure> ask_member(const migration::Endpoint&, std::string_view path,
                                                          const std::string& body, const Take&,
                                                          Clock::time_point until);
    [[nodiscard]] std::expected<void, Failure> log_in(const migration::Endpoint&, Clock::time_point until);
    [[nodiscard]] Result<HttpAnswer> exchange(const migration::Endpoint&, std::string_view path,
                                              const std::string& body, Clock::time_point until) const;

    Address address_;
    TimeLimits limits_;
    EventFd never_; ///< interrupts: a claim is not cancelled
    std::unique_ptr<const migration::Tls> tls_;
    std::string user_;
    std::string password_;
    std::string token_;
    std::size_t first_ = 0; ///< the member that has answered last
};

} // namespace aerate::etcd
