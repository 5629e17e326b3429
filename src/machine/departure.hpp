// What a caller of the API wants of a migration, as the engine takes it: everything that can be wrong with it is found
// here, before anybody connects.
#pragma once

#include "control/request.hpp"
#include "migration/endpoint.hpp"
#include "migration/lease.hpp"
#include "migration/source.hpp"
#include "migration/tls.hpp"

#include <memory>

namespace aerate {

struct Departure {
    migration::Endpoint destination;
    std::unique_ptr<migration::Lease> lease;
    std::unique_ptr<const migration::Tls> tls;
    migration::SourceOptions options; ///< refers to both

    static constexpr std::chrono::seconds connect_limit{10};

    [[nodiscard]] static Result<Departure> plan(const control::Migrate&, ByteCount guest_memory);
};

} // namespace aerate
