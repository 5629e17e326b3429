// The lease of a migration, kept by an etcd cluster in place of a file: for hosts that share no storage, and for
// clusters that survive the loss of any one machine.
//
//     auto lease = TRY(open_lease("etcd:10.0.0.1:2379,10.0.0.2:2379/web,ca=/etc/aerate/etcd.pem"));
//     auto same = TRY(open_lease("/shared/web.lease"));
//
// Connections are made by a thread of the lease's own: threads that hear strangers need not be allowed to make any.
#pragma once

#include "base/error.hpp"
#include "etcd/claim.hpp"
#include "etcd/gateway.hpp"
#include "event/loop_thread.hpp"
#include "migration/lease.hpp"

#include <memory>
#include <string>

namespace aerate::etcd {

class EtcdLease final : public migration::Lease {
public:
    /// Connects to nobody so far. Starts the thread, which its starter's confinement must allow: see threads.hpp.
    [[nodiscard]] static Result<std::unique_ptr<EtcdLease>> open(const Address&, TimeLimits = {});

    /// Makes the key if it is not there.
    Result<Terms> terms() override;
    Result<bool> claim(const Terms&, const migration::Session&, migration::Side) override;

private:
    EtcdLease(std::string key, std::unique_ptr<Gateway> gateway);
    [[nodiscard]] Result<Outcome> transact(const std::string& question);

    std::string key_;
    std::unique_ptr<Gateway> gateway_;
    LoopThread thread_;
};

/// Opens the lease that an operator names: the path of a file, or etcd:...
[[nodiscard]] Result<std::unique_ptr<migration::Lease>> open_lease(const std::string& where);

} // namespace aerate::etcd
