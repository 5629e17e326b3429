// What a caller of the API wants of a migration, as the engine takes it: everything that can be wrong with it is found
// here, before anybody connects.
#pragma once

#include "control/request.hpp"
#include "migration/lease.hpp"
#include "migration/link/endpoint.hpp"
#include "migration/link/tls.hpp"
#include "migration/source.hpp"

#include <memory>

namespace aerate {

struct OutgoingMigration {
    migration::Endpoint destination;
    std::unique_ptr<migration::Lease> lease;
    std::unique_ptr<const migration::Tls> tls;
    migration::SourceOptions options; ///< refers to both

    static constexpr std::chrono::seconds connect_limit{10};
    static constexpr ByteCount slowest_bandwidth{64U << 10}; ///< a second

    [[nodiscard]] static Result<OutgoingMigration> plan(const control::Migrate&, ByteCount guest_memory);
};

} // namespace aerate
