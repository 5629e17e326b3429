#include "vhost_user/session.hpp"

#include "base/check.hpp"
#include "base/log.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace aerate::vhost_user {
namespace {

/// Others on the loop have their turn after this many messages.
constexpr int messages_a_turn = 64;

/// What SET_VRING_KICK, _CALL and _ERR say: which ring, and the descriptor if there is one.
struct VringFd {
    std::uint32_t index;
    FileDescriptor fd;
};

Result<VringFd> vring_fd(Message& message) {
    const auto value = message.read<std::uint64_t>();
    const bool none = (value & vring_fd_none) != 0;
    if ((value & ~(vring_fd_index_mask | vring_fd_none)) != 0)
        return fail("request {} has the bits {:#x}", static_cast<unsigned>(message.request), value);
    if (none != message.fds.empty())
        return fail("request {} says that it has {} descriptor, and has {}", static_cast<unsigned>(message.request),
                    none ? "no" : "a", message.fds.size());
    return VringFd{static_cast<std::uint32_t>(value & vring_fd_index_mask),
                   none ? FileDescriptor() : std::move(message.fds.front())};
}

Result<Notifier> notifier(VringFd& given) {
    return given.fd.valid() ? Notifier::of(std::move(given.fd)) : Result<Notifier>(Notifier());
}

} // namespace

constexpr std::uint64_t any_front_end = 0;

// By request. Sizes in bytes, of the payload.
const Session::Rule Session::rules[] = {
    {RequestCode::get_features, 0, 0, 0, 0, any_front_end, &Session::get_features},
    {RequestCode::set_features, 8, 8, 0, 0, any_front_end, &Session::set_features},
    {RequestCode::set_owner, 0, 0, 0, 0, any_front_end, &Session::nothing},
    {RequestCode::reset_owner, 0, 0, 0, 0, any_front_end, &Session::reset_owner},
    // User Mode Linux always sends room for two regions.
    {RequestCode::set_mem_table, 8, 8 + 32 * table_regions_max, 0, table_regions_max, any_front_end,
     &Session::set_mem_table},
    {RequestCode::set_log_base, 8, 16, 1, 1, protocol_feature::log_shmfd, &Session::set_log_base},
    {RequestCode::set_log_fd, 0, 8, 1, 1, any_front_end, &Session::set_log_fd},
    {RequestCode::set_vring_num, 8, 8, 0, 0, any_front_end, &Session::set_vring_num},
    {RequestCode::set_vring_addr, 40, 40, 0, 0, any_front_end, &Session::set_vring_addr},
    {RequestCode::set_vring_base, 8, 8, 0, 0, any_front_end, &Session::set_vring_base},
    {RequestCode::get_vring_base, 8, 8, 0, 0, any_front_end, &Session::get_vring_base},
    {RequestCode::set_vring_kick, 8, 8, 0, 1, any_front_end, &Session::set_vring_kick},
    {RequestCode::set_vring_call, 8, 8, 0, 1, any_front_end, &Session::set_vring_call},
    {RequestCode::set_vring_err, 8, 8, 0, 1, any_front_end, &Session::set_vring_err},
    {RequestCode::get_protocol_features, 0, 0, 0, 0, any_front_end, &Session::get_protocol_features},
    {RequestCode::set_protocol_features, 8, 8, 0, 0, any_front_end, &Session::set_protocol_features},
    {RequestCode::get_queue_num, 0, 0, 0, 0, protocol_feature::mq, &Session::get_queue_num},
    {RequestCode::set_vring_enable, 8, 8, 0, 0, any_front_end, &Session::set_vring_enable},
    {RequestCode::set_backend_req_fd, 0, 8, 1, 1, protocol_feature::backend_req, &Session::set_backend_req_fd},
    {RequestCode::get_config, 12, 12 + config_bytes_max, 0, 0, protocol_feature::config, &Session::get_config},
    {RequestCode::set_config, 12, 12 + config_bytes_max, 0, 0, protocol_feature::config, &Session::set_config},
    {RequestCode::get_inflight_fd, inflight_description_bytes, sizeof(InflightDescription), 0, 0,
     protocol_feature::inflight_shmfd, &Session::get_inflight_fd},
    {RequestCode::set_inflight_fd, inflight_description_bytes, sizeof(InflightDescription), 1, 1,
     protocol_feature::inflight_shmfd, &Session::set_inflight_fd},
    {RequestCode::reset_device, 0, 0, 0, 0, protocol_feature::reset_device, &Session::reset_device},
    {RequestCode::get_max_mem_slots, 0, 0, 0, 0, protocol_feature::configure_mem_slots, &Session::get_max_mem_slots},
    {RequestCode::add_mem_reg, 40, 40, 1, 1, protocol_feature::configure_mem_slots, &Session::add_mem_reg},
    // Some front-ends send the region's descriptor along.
    {RequestCode::rem_mem_reg, 40, 40, 0, 1, protocol_feature::configure_mem_slots, &Session::rem_mem_reg},
    {RequestCode::set_status, 8, 8, 0, 0, protocol_feature::status, &Session::set_status},
    {RequestCode::get_status, 0, 0, 0, 0, protocol_feature::status, &Session::get_status},
};

Result<std::unique_ptr<Session>> Session::create(EventLoop& loop, FileDescriptor socket, const BackEndOptions& options,
                                                 Events events, std::optional<KeptState> kept) {
    auto session = std::unique_ptr<Session>(new Session(loop, std::move(socket), std::move(events)));
    Session* const self = session.get();
    session->back_end_ = TRY(BackEnd::create(loop, options,
                                             {.replacing =
                                                  [self] {
                                                      if (self->events_.replacing)
                                                          self->events_.replacing();
                                                  },
                                              .failed = [self](std::string why) { self->end(std::move(why)); }},
                                             std::move(kept)));
    session->watch_ = TRY(loop.try_watch(session->socket_.fd(), [self] { self->readable(); }));
    return session;
}

void Session::readable() {
    for (int i = 0; i < messages_a_turn && !ended_; ++i) {
        auto message = socket_.receive();
        if (!message)
            return end(message.error().message);
        if (!*message)
            return;
        if (auto handled = handle(std::move(**message)); !handled)
            return end(handled.error().message);
    }
}

void Session::end(std::string why) {
    CHECK(loop_.owned_here());
    if (std::exchange(ended_, true))
        return;
    watch_.cancel();
    // Its other end need not wait for us to be destroyed.
    ::shutdown(socket_.fd(), SHUT_RDWR);
    loop_.post([this, why = std::move(why), alive = std::weak_ptr(alive_)]() mutable {
        if (!alive.expired())
            std::exchange(events_.ended, nullptr)(std::move(why));
    });
}

Result<> Session::handle(Message message) {
    ++counters_.messages;
    const auto number = static_cast<unsigned>(message.request);
    const auto rule = std::ranges::find(rules, message.request, &Rule::request);
    const bool known = rule != std::end(rules) && (rule->needs == 0 || uses(rule->needs));
    if (known && (message.payload.size() < rule->size_min || message.payload.size() > rule->size_max))
        return fail("request {} of {} bytes: it has {} to {}", number, message.payload.size(), rule->size_min,
                    rule->size_max);
    if (known && (message.fds.size() < rule->fds_min || message.fds.size() > rule->fds_max))
        return fail("request {} with {} file descriptors: it has {} to {}", number, message.fds.size(), rule->fds_min,
                    rule->fds_max);

    Outcome outcome = known ? (this->*rule->carry_out)(message)
                            : Outcome(fail("request {} is not known, or was not negotiated", number));
    if (back_end_->lost())
        return fail("the front-end cut a file that it shares, or its filesystem is full");
    if (!outcome) {
        ++counters_.refused;
        if (!message.need_reply || !uses(protocol_feature::reply_ack))
            return std::unexpected(std::move(outcome).error());
        // The acknowledgement has no room for the reason.
        static log::GuestLogLimit limit;
        if (limit.allow())
            log::warning("vhost-user: request {} is refused: {}", number, outcome.error().message);
        return acknowledge(message, false);
    }
    if (*outcome)
        return socket_.reply(message.request, (*outcome)->payload, (*outcome)->fd.get());
    return acknowledge(message, true);
}

/// Sends REPLY_ACK, zero for success, where the front-end asked.
Result<> Session::acknowledge(const Message& message, bool success) {
    if (!message.need_reply || !uses(protocol_feature::reply_ack))
        return {};
    return socket_.reply(message.request, bytes_of_struct(std::uint64_t{success ? 0U : 1U}));
}

// --- Negotiation -----------------------------------------------------------------------------------------------------

Session::Outcome Session::get_features(Message&) {
    back_end_->features_asked();
    return Answer{bytes_of_struct(back_end_->offered().bits), {}};
}

Session::Outcome Session::set_features(Message& message) {
    TRY(back_end_->set_features({message.read<std::uint64_t>()}));
    return std::nullopt;
}

Session::Outcome Session::get_protocol_features(Message&) {
    return Answer{bytes_of_struct(protocol_feature::offered), {}};
}

Session::Outcome Session::set_protocol_features(Message& message) {
    const auto features = message.read<std::uint64_t>();
    if ((features & ~protocol_feature::offered) != 0)
        return fail("protocol features {:#x} were not offered", features & ~protocol_feature::offered);
    protocol_features_ = features;
    return std::nullopt;
}

Session::Outcome Session::nothing(Message&) {
    return std::nullopt;
}

Session::Outcome Session::reset_owner(Message&) {
    back_end_->stop_all_rings();
    return std::nullopt;
}

Session::Outcome Session::reset_device(Message&) {
    back_end_->reset_device();
    return std::nullopt;
}

Session::Outcome Session::get_queue_num(Message&) {
    return Answer{bytes_of_struct(std::uint64_t{back_end_->ring_count()}), {}};
}

Session::Outcome Session::set_status(Message& message) {
    const auto status = message.read<std::uint64_t>();
    if (status > UINT8_MAX)
        return fail("device status {:#x}", status);
    back_end_->set_status(static_cast<std::uint8_t>(status));
    return std::nullopt;
}

Session::Outcome Session::get_status(Message&) {
    return Answer{bytes_of_struct(std::uint64_t{back_end_->status()}), {}};
}

// --- Memory ----------------------------------------------------------------------------------------------------------

Session::Outcome Session::get_max_mem_slots(Message&) {
    return Answer{bytes_of_struct(std::uint64_t{mem_slots_max}), {}};
}

Session::Outcome Session::set_mem_table(Message& message) {
    const auto head = message.read<MemTableHead>();
    if (head.regions > table_regions_max || head.regions != message.fds.size() ||
        sizeof head + head.regions * sizeof(RegionDescription) > message.payload.size())
        return fail("a memory table of {} regions in {} bytes with {} files", head.regions, message.payload.size(),
                    message.fds.size());
    MemoryTable table;
    for (std::size_t i = 0; i < head.regions; ++i)
        TRY(table.add(message.read<RegionDescription>(sizeof head + i * sizeof(RegionDescription)),
                      std::move(message.fds[i])));
    TRY(back_end_->set_memory(std::move(table)));
    return std::nullopt;
}

Session::Outcome Session::add_mem_reg(Message& message) {
    MemoryTable table = back_end_->table();
    TRY(table.add(message.read<SingleRegion>().region, std::move(message.fds.front())));
    TRY(back_end_->set_memory(std::move(table)));
    return std::nullopt;
}

Session::Outcome Session::rem_mem_reg(Message& message) {
    MemoryTable table = back_end_->table();
    TRY(table.remove(message.read<SingleRegion>().region));
    TRY(back_end_->set_memory(std::move(table)));
    return std::nullopt;
}

Session::Outcome Session::set_log_base(Message& message) {
    if (message.payload.size() < sizeof(LogDescription))
        return fail("a dirty log that is not in a file");
    const auto log = message.read<LogDescription>();
    TRY(back_end_->set_log(SharedLog(TRY(SharedFile::map("dirty log", std::move(message.fds.front()), {log.mmap_offset},
                                                         {log.mmap_size}, SharedLog::largest)))));
    // The one request that is answered with its own kind and says nothing.
    return Answer{bytes_of_struct(std::uint64_t{0}), {}};
}

Session::Outcome Session::set_log_fd(Message& message) {
    back_end_->set_log_notifier(TRY(Notifier::of(std::move(message.fds.front()))));
    return std::nullopt;
}

// --- Rings -----------------------------------------------------------------------------------------------------------

Session::Outcome Session::set_vring_num(Message& message) {
    const auto state = message.read<VringState>();
    TRY(back_end_->set_ring_size(state.index, state.value));
    return std::nullopt;
}

Session::Outcome Session::set_vring_addr(Message& message) {
    const auto given = message.read<VringAddresses>();
    const Vring::Addresses addresses{
        .descriptors = {given.descriptors}, .available = {given.available}, .used = {given.used}};
    const bool logged = (given.flags & log_used_flag) != 0;
    TRY(back_end_->set_ring_addresses(given.index, addresses,
                                      logged ? std::optional(GuestAddress{given.log}) : std::nullopt));
    return std::nullopt;
}

Session::Outcome Session::set_vring_base(Message& message) {
    const auto state = message.read<VringState>();
    TRY(back_end_->set_ring_base(state.index, state.value));
    return std::nullopt;
}

Session::Outcome Session::get_vring_base(Message& message) {
    const auto index = message.read<VringState>().index;
    return Answer{bytes_of_struct(VringState{index, TRY(back_end_->stop_ring(index))}), {}};
}

Session::Outcome Session::set_vring_kick(Message& message) {
    auto given = TRY(vring_fd(message));
    if (!given.fd.valid())
        return fail("ring {} has no kicks: it would have to be polled, which is not supported here", given.index);
    TRY(back_end_->start_ring(given.index, TRY(Kick::of(std::move(given.fd)))));
    return std::nullopt;
}

Session::Outcome Session::set_vring_call(Message& message) {
    auto given = TRY(vring_fd(message));
    TRY(back_end_->set_call(given.index, TRY(notifier(given))));
    return std::nullopt;
}

Session::Outcome Session::set_vring_err(Message& message) {
    auto given = TRY(vring_fd(message));
    TRY(back_end_->set_error(given.index, TRY(notifier(given))));
    return std::nullopt;
}

Session::Outcome Session::set_vring_enable(Message& message) {
    const auto state = message.read<VringState>();
    if (state.value > 1)
        return fail("ring {} is to be enabled by {}", state.index, state.value);
    TRY(back_end_->enable_ring(state.index, state.value == 1));
    return std::nullopt;
}

// --- Config space ----------------------------------------------------------------------------------------------------

Session::Outcome Session::set_backend_req_fd(Message& message) {
    if (!is_unix_socket(message.fds.front()))
        return fail("the channel for the back-end's requests is not a unix socket");
    back_end_->set_config_channel(std::move(message.fds.front()));
    return std::nullopt;
}

Session::Outcome Session::get_config(Message& message) {
    const auto head = message.read<ConfigHead>();
    std::vector<std::byte> reply = bytes_of_struct(head);
    // A size that is nonsense is answered with none, as the document asks.
    if (head.size > config_bytes_max)
        return Answer{{}, {}};
    reply.resize(sizeof head + head.size);
    back_end_->read_config(head.offset, std::span(reply).subspan(sizeof head));
    return Answer{std::move(reply), {}};
}

Session::Outcome Session::set_config(Message& message) {
    const auto head = message.read<ConfigHead>();
    if (head.size > message.payload.size() - sizeof head)
        return fail("{} bytes for the config space in a message of {}", head.size, message.payload.size());
    back_end_->write_config(head.offset, std::span(message.payload).subspan(sizeof head, head.size));
    return std::nullopt;
}

// --- In-flight region ------------------------------------------------------------------------------------------------

namespace {

InflightDescription inflight_description(const Message& message) {
    InflightDescription description{};
    std::memcpy(&description, message.payload.data(), inflight_description_bytes);
    return description;
}

Result<> check_inflight(const InflightDescription& asked, std::uint16_t rings) {
    if (asked.queues == 0 || asked.queues > rings || asked.queue_size == 0 || asked.queue_size > virtio::max_queue_size)
        return fail("an in-flight region for {} queues of {}", asked.queues, asked.queue_size);
    return {};
}

} // namespace

Session::Outcome Session::get_inflight_fd(Message& message) {
    InflightDescription asked = inflight_description(message);
    TRY(check_inflight(asked, back_end_->ring_count()));
    const bool packed = back_end_->packed();
    FileDescriptor file = TRY(Inflight::create(asked.queues, asked.queue_size, packed));
    asked.mmap_size = Inflight::bytes_for(asked.queues, asked.queue_size, packed).value;
    asked.mmap_offset = 0;
    auto payload = bytes_of_struct(asked);
    payload.resize(inflight_description_bytes);
    return Answer{std::move(payload), std::move(file)};
}

Session::Outcome Session::set_inflight_fd(Message& message) {
    const InflightDescription given = inflight_description(message);
    TRY(check_inflight(given, back_end_->ring_count()));
    back_end_->set_inflight(TRY(Inflight::map(std::move(message.fds.front()), {given.mmap_offset}, {given.mmap_size},
                                              given.queues, given.queue_size, back_end_->packed())));
    return std::nullopt;
}

} // namespace aerate::vhost_user
