#include "machine/outgoing_migration.hpp"

#include "etcd/lease.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

Result<OutgoingMigration> OutgoingMigration::plan(const control::Migrate& request, ByteCount guest_memory) {
    OutgoingMigration outgoing{TRY(migration::Endpoint::parse(request.destination)), {}, {}, {}};
    outgoing.options = {.downtime_limit = request.downtime_limit,
                        .max_rounds = request.max_rounds,
                        .stop_anyway = request.force,
                        .auto_converge = request.auto_converge,
                        .verify = request.verify,
                        .compression = TRY(migration::parse_compression(request.compression)),
                        .bandwidth = request.bandwidth,
                        .record_directory = request.record_directory};
    outgoing.tls = TRY(migration::protect(outgoing.destination, {.psk_path = request.psk_path,
                                                                 .certificate_path = request.tls_certificate_path,
                                                                 .key_path = request.tls_key_path,
                                                                 .ca_path = request.tls_ca_path,
                                                                 .peer_name = request.tls_name,
                                                                 .plain = request.plain}));
    outgoing.options.tls = outgoing.tls.get();
    if (!request.lease_path.empty())
        outgoing.lease = TRY(etcd::open_lease(request.lease_path));
    outgoing.options.lease = outgoing.lease.get();
    outgoing.options.streams = request.streams;
    outgoing.options.connect = [destination = outgoing.destination](const EventFd& interrupt) {
        return migration::connect_to(destination, connect_limit, &interrupt);
    };
    if (request.bandwidth > ByteCount{} && request.bandwidth < slowest_bandwidth)
        return fail("bandwidth: {} bytes a second are too few, at least {} (64K) are needed: a destination takes a "
                    "slower source for one that has stalled",
                    request.bandwidth.value, slowest_bandwidth.value);
    const ByteCount smallest_cache = bytes_of({request.streams});
    if (request.delta_cache > ByteCount{} && request.delta_cache < smallest_cache)
        return fail("delta_cache: {} bytes are less than a page for each of the {} streams: at least {} are needed",
                    request.delta_cache.value, request.streams, smallest_cache.value);
    outgoing.options.delta_cache = std::min(request.delta_cache, guest_memory);
    return outgoing;
}

} // namespace aerate
