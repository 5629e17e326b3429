#include "etcd/lease.hpp"

#include "etcd/threads.hpp"

#include <utility>

namespace aerate::etcd {

using migration::Session;
using migration::Side;

EtcdLease::EtcdLease(std::string key, std::unique_ptr<Gateway> gateway)
    : key_(std::move(key))
    , gateway_(std::move(gateway))
    , thread_(lease_thread) {}

Result<std::unique_ptr<EtcdLease>> EtcdLease::open(const Address& address, TimeLimits limits) {
    auto gateway = Gateway::open(address, limits);
    if (!gateway)
        return fail_because(std::move(gateway).error(), "cannot use the lease {} in etcd", address.name);
    std::unique_ptr<EtcdLease> lease(new EtcdLease(address.key(), *std::move(gateway)));
    TRY(lease->thread_.start());
    return lease;
}

Result<Outcome> EtcdLease::transact(const std::string& question) {
    Outcome outcome;
    auto asked = thread_.loop().call([&] {
        return gateway_->ask("/v3/kv/txn", question, [&](std::string_view body) -> Result<> {
            outcome = TRY(parse_outcome(body, key_));
            return {};
        });
    });
    if (!asked)
        return fail_because(std::move(asked).error(), "cannot use the lease {}", key_);
    return outcome;
}

Result<migration::Lease::Terms> EtcdLease::terms() {
    const Terms fresh{Session::random().value, 0};
    const Outcome outcome = TRY(transact(creation(key_, fresh.id)));
    if (outcome.succeeded)
        return fresh;
    if (!outcome.holder)
        return fail("cannot use the lease {}: it was removed this moment", key_);
    return outcome.holder->terms;
}

Result<bool> EtcdLease::claim(const Terms& terms, const Session& session, Side side) {
    const Outcome outcome = TRY(transact(etcd::claim(key_, terms, session, side)));
    auto ours = judge(outcome, terms, session, side);
    if (!ours)
        return fail_because(std::move(ours).error(), "cannot use the lease {}", key_);
    return ours;
}

Result<std::unique_ptr<migration::Lease>> open_lease(const std::string& where) {
    if (Address::is_one(where))
        return TRY(EtcdLease::open(TRY(Address::parse(where))));
    return std::make_unique<migration::FileLease>(TRY(migration::FileLease::open(where)));
}

} // namespace aerate::etcd
