#include "net/stream_socket.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <vector>

namespace aerate::net {
namespace {

using Bytes = std::vector<std::byte>;

Bytes framed(std::size_t length, std::size_t payload) {
    Bytes bytes;
    for (const unsigned shift : {24U, 16U, 8U, 0U})
        bytes.push_back(static_cast<std::byte>(length >> shift));
    for (std::size_t i = 0; i < payload; ++i)
        bytes.push_back(static_cast<std::byte>(i * 3));
    return bytes;
}

class StreamSocketTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::array<int, 2> ends{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
        socket_ = StreamSocket::adopt(FileDescriptor(ends[0]), "peer").value();
        peer_ = FileDescriptor(ends[1]);
    }
    void peer_sends(std::span<const std::byte> bytes) {
        ASSERT_EQ(::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    }
    Received receive() {
        got_.assign(70'000, std::byte{0xee});
        const std::array pieces{iovec{got_.data(), 7}, iovec{got_.data() + 7, 100},
                                iovec{got_.data() + 107, got_.size() - 107}};
        return socket_->receive(pieces);
    }
    Outcome send(std::size_t size) {
        Bytes frame(header::size + size, std::byte{0x11});
        const std::array pieces{iovec{frame.data(), 5}, iovec{frame.data() + 5, frame.size() - 5}};
        return socket_->send(pieces);
    }
    /// All that the peer has been sent, as far as it has come.
    void peer_reads() {
        std::array<std::byte, 65536> chunk;
        for (ssize_t got = 0; (got = ::recv(peer_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT)) > 0;)
            read_.insert(read_.end(), chunk.begin(), chunk.begin() + got);
    }

    std::shared_ptr<StreamSocket> socket_;
    FileDescriptor peer_;
    Bytes got_;
    Bytes read_;
};

TEST_F(StreamSocketTest, TakesAFrameOfEachSizeAndPutsAnEmptyHeaderBeforeIt) {
    for (const std::size_t size : {1U, 60U, 1514U, 65535U}) {
        const Bytes bytes = framed(size, size);
        peer_sends(bytes);
        const auto got = receive();
        ASSERT_EQ(got.outcome, Outcome::done);
        ASSERT_EQ(got.bytes, header::size + size);
        for (std::size_t i = 0; i < header::size; ++i)
            EXPECT_EQ(got_[i], std::byte{0});
        EXPECT_TRUE(std::equal(bytes.begin() + 4, bytes.end(), got_.begin() + header::size));
    }
    EXPECT_EQ(receive().outcome, Outcome::later);
}

TEST_F(StreamSocketTest, ManyFramesComeInTheirOrder) {
    for (std::size_t round = 0; round < 20; ++round) {
        Bytes all;
        for (std::size_t size = 100; size < 130; ++size) {
            const Bytes one = framed(size, size);
            all.insert(all.end(), one.begin(), one.end());
        }
        peer_sends(all);
        for (std::size_t size = 100; size < 130; ++size)
            ASSERT_EQ(receive().bytes, header::size + size);
        ASSERT_EQ(receive().outcome, Outcome::later);
    }
}

TEST_F(StreamSocketTest, WhatAFullSocketDoesNotTakeIsSentBeforeAnythingElse) {
    unsigned sent = 0;
    while (send(30'000) == Outcome::done && sent < 1000)
        ++sent;
    ASSERT_GT(sent, 2U);
    ASSERT_LT(sent, 1000U);
    EXPECT_EQ(send(30'000), Outcome::later);
    peer_reads();
    EXPECT_EQ(socket_->flush(), Outcome::done);
    EXPECT_EQ(send(100), Outcome::done);
    peer_reads();
    ASSERT_EQ(read_.size(), sent * 30'004U + 104U) << "whole frames, and each once";
    for (unsigned i = 0; i < sent; ++i)
        ASSERT_EQ(read_[i * 30'004U + 2], std::byte{30'000 >> 8});
    EXPECT_EQ(read_[sent * 30'004U + 3], std::byte{100});
}

TEST_F(StreamSocketTest, N19_AnEmptyFrameIsNone) {
    peer_sends(framed(0, 0));
    peer_sends(framed(0, 0));
    EXPECT_EQ(receive().outcome, Outcome::later);
    peer_sends(framed(5, 5));
    EXPECT_EQ(receive().bytes, header::size + 5);
}

TEST_F(StreamSocketTest, N19_ALengthThatNoFrameHasIsTheEndOfThePeer) {
    for (const std::size_t length : {65536UL, 1UL << 24, 1UL << 31, 0xffff'ffffUL}) {
        SetUp();
        peer_sends(framed(20, 20));
        peer_sends(framed(length, 100));
        EXPECT_EQ(receive().outcome, Outcome::done);
        EXPECT_EQ(receive().outcome, Outcome::gone) << length;
        EXPECT_EQ(receive().outcome, Outcome::gone);
        EXPECT_EQ(send(60), Outcome::gone);
    }
}

TEST_F(StreamSocketTest, N19_APeerThatSendsByteByByteIsWaitedFor) {
    const Bytes bytes = framed(70, 70);
    for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
        peer_sends({&bytes[i], 1});
        ASSERT_EQ(receive().outcome, Outcome::later);
        ASSERT_EQ(got_[0], std::byte{0xee}) << "the guest's buffers are not touched before the frame is whole";
    }
    peer_sends({&bytes.back(), 1});
    EXPECT_EQ(receive().bytes, header::size + 70);
}

TEST_F(StreamSocketTest, N19_AFrameThatThePeersEndCutsShortIsNone) {
    peer_sends(framed(70, 30));
    peer_.close();
    EXPECT_EQ(receive().outcome, Outcome::gone);
    EXPECT_EQ(send(60), Outcome::gone);
}

TEST_F(StreamSocketTest, N19_FramesThatThePeerCannotHaveAreDropped) {
    EXPECT_EQ(send(0), Outcome::dropped);
    EXPECT_EQ(send(65'550), Outcome::dropped);
    EXPECT_EQ(send(65'535), Outcome::done);
}

TEST(StreamSocket, IsNothingElse) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends.data()), 0);
    const FileDescriptor other(ends[1]);
    EXPECT_FALSE(StreamSocket::adopt(FileDescriptor(ends[0]), "peer"));
}

} // namespace
} // namespace aerate::net
