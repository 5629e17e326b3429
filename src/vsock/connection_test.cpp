#include "vsock/connection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace aerate::vsock {
namespace {

using Phase = Connection::Phase;
using Time = Connection::Clock::time_point;
using std::chrono::seconds;

constexpr Time start{};
constexpr std::uint32_t guest_room = 16U << 10;

Header from_guest(Op op, std::uint32_t length = 0, std::uint32_t flags = 0) {
    return {.length = length, .op = op, .flags = flags, .buffer_size = guest_room};
}

Connection open_connection() {
    Connection connection(start);
    EXPECT_EQ(connection.take_control().op, Op::request);
    EXPECT_FALSE(connection.received(from_guest(Op::response)));
    EXPECT_EQ(connection.phase(), Phase::open);
    return connection;
}

TEST(VsockConnection, AHostsCallIsOpenWhenTheGuestHasAnswered) {
    const Connection connection = open_connection();
    EXPECT_FALSE(connection.has_control());
    EXPECT_FALSE(connection.deadline());
    EXPECT_EQ(connection.room(), guest_room);
}

TEST(VsockConnection, AGuestsCallIsAnsweredWhenTheHostHas) {
    Connection connection(from_guest(Op::request), start);
    EXPECT_EQ(connection.phase(), Phase::answering);
    EXPECT_FALSE(connection.has_control());
    connection.host_answered();
    EXPECT_EQ(connection.room(), 0U) << "RESPONSE goes first";
    connection.want_room(); // and room is not what is missing
    const Header response = connection.take_control();
    EXPECT_EQ(response.op, Op::response);
    EXPECT_EQ(response.buffer_size, Connection::buffer_size);
    EXPECT_EQ(connection.room(), guest_room);
}

TEST(VsockConnection, AnUnansweredCallIsResetAfterTwoSeconds) {
    Connection connection(start);
    (void)connection.take_control();
    connection.expire(start + seconds(2) - std::chrono::milliseconds(1));
    EXPECT_EQ(connection.phase(), Phase::calling);
    connection.restart_deadline(start + seconds(1));
    connection.expire(start + seconds(2));
    EXPECT_EQ(connection.phase(), Phase::calling);
    connection.expire(start + seconds(3));
    EXPECT_EQ(connection.take_control().op, Op::rst);
    EXPECT_EQ(connection.phase(), Phase::over);
}

TEST(VsockConnection, AGuestThatWasNeverToldOfACallIsNotToldOfItsEnd) {
    Connection connection(start);
    connection.expire(start + seconds(2));
    EXPECT_EQ(connection.phase(), Phase::over);
    EXPECT_FALSE(connection.has_control());
}

TEST(VsockConnection, K5_AnAnswerBeforeTheCallIsNone) {
    Connection connection(start);
    EXPECT_FALSE(connection.received(from_guest(Op::response)));
    EXPECT_EQ(connection.phase(), Phase::calling);
}

TEST(VsockConnection, K5_DataBeforeTheAnswerEndsIt) {
    Connection calling(start);
    (void)calling.take_control();
    EXPECT_FALSE(calling.received(from_guest(Op::rw, 1)));
    EXPECT_EQ(calling.take_control().op, Op::rst);
    Connection answering(from_guest(Op::request), start);
    EXPECT_FALSE(answering.received(from_guest(Op::rw, 1)));
    EXPECT_EQ(answering.take_control().op, Op::rst);
}

TEST(VsockConnection, TheHostsEndClosesOneDirection) {
    Connection connection = open_connection();
    connection.host_sends_no_more();
    const Header shutdown = connection.take_control();
    EXPECT_EQ(shutdown.op, Op::shutdown);
    EXPECT_EQ(shutdown.flags, shutdown_flag::sends_no_more);
    EXPECT_FALSE(connection.deadline()) << "the guest may send for as long as it likes";
    EXPECT_TRUE(connection.received(from_guest(Op::rw, 10)));
    EXPECT_EQ(connection.room(), 0U);
    connection.host_gone(start);
    EXPECT_EQ(connection.take_control().flags, shutdown_flag::both);
    connection.expire(start + seconds(2));
    EXPECT_EQ(connection.take_control().op, Op::rst);
}

TEST(VsockConnection, K7_TheGuestsShutdownsAddUp) {
    Connection connection = open_connection();
    EXPECT_FALSE(connection.received(from_guest(Op::shutdown, 0, 0)));
    EXPECT_FALSE(connection.received(from_guest(Op::shutdown, 0, 0xffff'fffc)));
    EXPECT_EQ(connection.phase(), Phase::open);
    EXPECT_FALSE(connection.guest_sends_no_more() || connection.guest_receives_no_more());
    EXPECT_FALSE(connection.received(from_guest(Op::shutdown, 0, shutdown_flag::sends_no_more)));
    EXPECT_EQ(connection.phase(), Phase::open);
    EXPECT_EQ(connection.room(), guest_room) << "it still receives";
    EXPECT_FALSE(connection.received(from_guest(Op::shutdown, 0, shutdown_flag::receives_no_more)));
    EXPECT_EQ(connection.take_control().op, Op::rst);
}

TEST(VsockConnection, K7_DataAfterTheEndOfDataEndsIt) {
    Connection connection = open_connection();
    EXPECT_FALSE(connection.received(from_guest(Op::shutdown, 0, shutdown_flag::sends_no_more)));
    EXPECT_FALSE(connection.received(from_guest(Op::rw, 1)));
    EXPECT_EQ(connection.take_control().op, Op::rst);
}

TEST(VsockConnection, ARstOfTheGuestsIsNotAnswered) {
    Connection connection = open_connection();
    EXPECT_FALSE(connection.received(from_guest(Op::rst)));
    EXPECT_EQ(connection.phase(), Phase::over);
    EXPECT_FALSE(connection.has_control());
}

TEST(VsockConnection, AGuestThatFillsTheBufferIsToldWhenThereIsRoom) {
    Connection connection = open_connection();
    EXPECT_TRUE(connection.received(from_guest(Op::rw, Connection::buffer_size)));
    EXPECT_EQ(connection.buffered(), Connection::buffer_size);
    EXPECT_FALSE(connection.has_control());
    connection.forwarded(1);
    const Header update = connection.take_control();
    EXPECT_EQ(update.op, Op::credit_update);
    EXPECT_EQ(update.forwarded, 1U);
}

TEST(VsockConnection, K9_AGuestThatSendsMoreThanThereIsRoomForIsReset) {
    Connection connection = open_connection();
    EXPECT_TRUE(connection.received(from_guest(Op::rw, Connection::buffer_size)));
    connection.forwarded(Connection::buffer_size); // and it has not been told so
    EXPECT_FALSE(connection.received(from_guest(Op::rw, 1)));
    EXPECT_EQ(connection.take_control().op, Op::rst);
}

TEST(VsockConnection, K9_CreditThatLiesStopsWhatIsSentOrNothing) {
    Connection connection = open_connection();
    (void)connection.take_data(100);
    Header lie = from_guest(Op::credit_update);
    lie.buffer_size = 50; // less than is on its way
    EXPECT_FALSE(connection.received(lie));
    EXPECT_EQ(connection.room(), 0U);
    lie.forwarded = 101; // more than was sent
    EXPECT_FALSE(connection.received(lie));
    EXPECT_EQ(connection.room(), 0U);
    lie.buffer_size = 0xffff'ffff;
    lie.forwarded = 0;
    EXPECT_FALSE(connection.received(lie));
    EXPECT_EQ(connection.room(), 0xffff'ffffU - 100);
}

TEST(VsockConnection, CreditIsAskedForOnceUntilItComes) {
    Connection connection = open_connection();
    connection.want_room();
    EXPECT_FALSE(connection.has_control());
    (void)connection.take_data(guest_room);
    connection.want_room();
    EXPECT_EQ(connection.take_control().op, Op::credit_request);
    connection.want_room();
    EXPECT_FALSE(connection.has_control());
    Header update = from_guest(Op::credit_update);
    update.forwarded = 1;
    EXPECT_FALSE(connection.received(update));
    EXPECT_EQ(connection.room(), 1U);
    (void)connection.take_data(1);
    connection.want_room();
    EXPECT_TRUE(connection.has_control());
}

/// Both ends of a connection with a byte count each way, a lossless channel between them, and a host that reads and
/// writes when it likes. Bytes are counted, and the count is their content: what arrives is what was sent, in order.
class Ends {
public:
    explicit Ends(std::uint64_t seed)
        : random_(seed)
        , guest_buffer_(4096U + pick(100'000))
        , connection_(start)
        , to_send_(pick(400'000))
        , guest_to_send_(pick(400'000)) {}

    void run() {
        for (int step = 0; step < 5'000'000 && connection_.phase() != Phase::over; ++step) {
            switch (pick(8)) {
            case 0:
            case 1:
                device_sends();
                break;
            case 2:
                guest_hears();
                break;
            case 3:
                guest_reads();
                break;
            case 4:
                guest_writes();
                break;
            case 5:
                device_hears();
                break;
            case 6:
                host_reads();
                break;
            default:
                ends();
            }
            ASSERT_LE(guest_held_, guest_buffer_) << "the guest was sent more than it had room for";
            ASSERT_LE(connection_.buffered(), Connection::buffer_size);
        }
        EXPECT_EQ(connection_.phase(), Phase::over) << "it does not come to its end";
        EXPECT_EQ(guest_received_, host_sent_);
        EXPECT_EQ(host_received_, guest_sent_);
        EXPECT_EQ(host_sent_, to_send_total_);
        EXPECT_EQ(guest_sent_, guest_to_send_total_);
    }

private:
    std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
    std::uint32_t piece(std::uint64_t most) {
        return most == 0 ? 0 : 1 + static_cast<std::uint32_t>(random_() % std::min<std::uint64_t>(most, 65536));
    }

    void device_sends() {
        if (connection_.has_control()) {
            to_guest_.push_back(connection_.take_control());
        } else if (const auto bytes = piece(std::min<std::uint64_t>(connection_.room(), to_send_)); bytes > 0) {
            to_guest_.push_back(connection_.take_data(bytes));
            to_send_ -= bytes;
            host_sent_ += bytes;
        } else if (to_send_ > 0) {
            connection_.want_room();
        }
    }
    void guest_hears() {
        if (to_guest_.empty())
            return;
        const Header packet = to_guest_.front();
        to_guest_.pop_front();
        device_buffer_ = packet.buffer_size;
        device_forwarded_ = packet.forwarded;
        if (packet.op == Op::request)
            guest_says(Op::response);
        else if (packet.op == Op::rw)
            guest_held_ += packet.length;
        else if (packet.op == Op::credit_request)
            guest_says(Op::credit_update);
        else if (packet.op == Op::shutdown)
            host_ended_ = true;
        guest_open_ |= packet.op == Op::request;
    }
    void guest_reads() {
        const auto bytes = piece(guest_held_);
        guest_held_ -= bytes;
        guest_received_ += bytes;
        if (bytes > 0)
            guest_says(Op::credit_update);
        if (host_ended_ && guest_held_ == 0 && guest_to_send_ == 0 && !guest_closed_) {
            guest_closed_ = true;
            guest_says(Op::shutdown, 0, shutdown_flag::both);
        }
    }
    void guest_writes() {
        const std::uint32_t in_flight = static_cast<std::uint32_t>(guest_sent_) - device_forwarded_;
        const auto bytes = guest_open_ && !guest_closed_
                               ? piece(std::min<std::uint64_t>(device_buffer_ - in_flight, guest_to_send_))
                               : 0;
        if (bytes == 0)
            return;
        guest_says(Op::rw, bytes);
        guest_to_send_ -= bytes;
        guest_sent_ += bytes;
    }
    void guest_says(Op op, std::uint32_t length = 0, std::uint32_t flags = 0) {
        Header packet = from_guest(op, length, flags);
        packet.buffer_size = guest_buffer_;
        packet.forwarded = static_cast<std::uint32_t>(guest_received_);
        to_device_.push_back(packet);
    }
    void device_hears() {
        if (to_device_.empty())
            return;
        const bool ended = connection_.ended();
        (void)connection_.received(to_device_.front());
        to_device_.pop_front();
        if (connection_.ended() && !ended) // what is buffered is the host stream's, which lingers
            host_received_ += connection_.buffered();
    }
    void host_reads() {
        const auto bytes = connection_.ended() ? 0 : piece(connection_.buffered());
        connection_.forwarded(bytes);
        host_received_ += bytes;
    }
    void ends() {
        if (to_send_ == 0)
            connection_.host_sends_no_more();
    }

    std::mt19937_64 random_; // NOLINT: the same runs each time
    std::uint32_t guest_buffer_;
    Connection connection_;
    std::uint64_t to_send_;
    std::uint64_t guest_to_send_;
    const std::uint64_t to_send_total_ = to_send_;
    const std::uint64_t guest_to_send_total_ = guest_to_send_;
    std::deque<Header> to_guest_;
    std::deque<Header> to_device_;
    std::uint64_t host_sent_ = 0;
    std::uint64_t host_received_ = 0;
    std::uint64_t guest_sent_ = 0;
    std::uint64_t guest_received_ = 0;
    std::uint32_t guest_held_ = 0;
    std::uint32_t device_buffer_ = 0;
    std::uint32_t device_forwarded_ = 0;
    bool guest_open_ = false;
    bool guest_closed_ = false;
    bool host_ended_ = false;
};

TEST(VsockConnection, BothEndsOfItAgreeWhateverTheOrder) {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        SCOPED_TRACE(seed);
        Ends(seed).run();
        if (::testing::Test::HasFailure())
            return;
    }
}

/// Nothing that a guest says, in any order, makes it due more than it has room for or ends the process.
TEST(VsockConnection, K9_AnyPacketsInAnyOrderAreSurvived) {
    std::mt19937_64 random(11); // NOLINT: the same packets each time
    for (int round = 0; round < 2000; ++round) {
        Connection connection = round % 2 == 0 ? Connection(start) : Connection(from_guest(Op::request), start);
        for (int step = 0; step < 50; ++step) {
            Header packet = from_guest(static_cast<Op>(random() % 9), static_cast<std::uint32_t>(random() % 70'000));
            packet.flags = static_cast<std::uint32_t>(random() % 5);
            packet.buffer_size = static_cast<std::uint32_t>(random());
            packet.forwarded = static_cast<std::uint32_t>(random());
            const std::uint32_t before = connection.buffered();
            const bool forward = connection.received(packet);
            ASSERT_LE(connection.buffered(), Connection::buffer_size);
            ASSERT_TRUE(forward || connection.buffered() == before);
            switch (random() % 6) {
            case 0:
                connection.host_answered();
                break;
            case 1:
                connection.forwarded(connection.buffered() / 2);
                break;
            case 2:
                connection.host_sends_no_more();
                break;
            case 3:
                (void)connection.take_data(std::min(connection.room(), 5000U));
                break;
            case 4:
                connection.want_room();
                break;
            default:
                if (connection.has_control())
                    (void)connection.take_control();
            }
        }
        connection.kill();
        while (connection.has_control())
            EXPECT_EQ(connection.take_control().op, Op::rst);
        EXPECT_EQ(connection.phase(), Phase::over);
    }
}

} // namespace
} // namespace aerate::vsock
