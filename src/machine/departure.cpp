#include "machine/departure.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

Result<Departure> Departure::plan(const control::Migrate& wish, ByteCount guest_memory) {
    Departure departure{TRY(migration::Endpoint::parse(wish.destination)), {}, {}, {}};
    departure.options = {.downtime_limit = wish.downtime_limit,
                         .max_rounds = wish.max_rounds,
                         .stop_anyway = wish.force,
                         .auto_converge = wish.auto_converge,
                         .verify = wish.verify,
                         .compression = TRY(migration::parse_compression(wish.compression)),
                         .bandwidth = wish.bandwidth,
                         .record_directory = wish.record_directory};
    departure.tls = TRY(migration::protect(departure.destination, {.psk_path = wish.psk_path,
                                                                   .certificate_path = wish.tls_certificate_path,
                                                                   .key_path = wish.tls_key_path,
                                                                   .ca_path = wish.tls_ca_path,
                                                                   .peer_name = wish.tls_name,
                                                                   .plain = wish.plain}));
    departure.options.tls = departure.tls.get();
    if (!wish.lease_path.empty())
        departure.lease = std::make_unique<migration::FileLease>(TRY(migration::FileLease::open(wish.lease_path)));
    departure.options.lease = departure.lease.get();
    departure.options.streams = wish.streams;
    departure.options.connect = [destination = departure.destination](const EventFd& interrupt) {
        return migration::connect_to(destination, connect_limit, &interrupt);
    };
    departure.options.delta_cache = std::min(wish.delta_cache, guest_memory);
    return departure;
}

} // namespace aerate
