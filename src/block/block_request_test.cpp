#include "block/block_request.hpp"
#include "block/testing/block_wire.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <string>

namespace aerate {
namespace {

using namespace testing;
using virtio::Buffer;

constexpr std::uint64_t ram = 4U << 20;

class BlockRequestTest : public ::testing::Test {
protected:
    template <typename T>
    void put(std::uint64_t address, const T& value) {
        ASSERT_TRUE(memory.write({address}, std::as_bytes(std::span(&value, 1))));
    }
    std::expected<void, BlockRefusal> parse(std::vector<Buffer> readable, std::vector<Buffer> writable) {
        return parse_block_request({{0}, readable, writable}, memory, limits, request);
    }

    GuestMemory memory = *GuestMemory::create({.regions = {{{0}, {ram}}}, .backing = Backing::anonymous});
    BlockLimits limits{
        .capacity = 100, .discard = true, .write_zeroes = true, .max_range_sectors = 50, .max_range_segments = 2};
    BlockRequest request;
};

TEST_F(BlockRequestTest, ReadsAndWrites) {
    put(0x1000, Header{in, 0, 3});
    ASSERT_TRUE(parse({{{0x1000}, 16}}, {{{0x2000}, 512}, {{0x3000}, 1024}, {{0x4000}, 1}}));
    EXPECT_EQ(request.kind, BlockRequest::Kind::read);
    EXPECT_EQ(request.offset, 3U * 512);
    EXPECT_EQ(request.data_length, 1536U);
    EXPECT_EQ(request.data.size(), 2U);
    EXPECT_EQ(request.status, GuestAddress{0x4000});

    put(0x1000, Header{out, 0, 99});
    ASSERT_TRUE(parse({{{0x1000}, 16}, {{0x2000}, 512}}, {{{0x4000}, 1}}));
    EXPECT_EQ(request.kind, BlockRequest::Kind::write);
    EXPECT_EQ(request.data_length, 512U);
}

// 2.7.4.3: no assumption about framing. The same request, cut into descriptors in every way of two cuts.
TEST_F(BlockRequestTest, R20_HeaderDataAndStatusMayBeCutAnywhere) {
    put(0x1000, Header{out, 0, 7});
    for (std::uint32_t first = 0; first <= 528; ++first) {
        for (const std::uint32_t second : {0U, 1U, 15U, 16U, 300U}) {
            const std::uint32_t middle = std::min(second, 528 - first);
            ASSERT_TRUE(parse(
                {{{0x1000}, first}, {{0x1000 + first}, middle}, {{0x1000ULL + first + middle}, 528 - first - middle}},
                {{{0x4000}, 1}, {{0x5000}, 0}}));
            ASSERT_EQ(request.data_length, 512U);
            std::uint64_t next = 0x1010;
            for (const Buffer& buffer : request.data) {
                ASSERT_EQ(buffer.address.value, next);
                ASSERT_GT(buffer.length, 0U);
                next += buffer.length;
            }
            ASSERT_EQ(next, 0x1210U);
            ASSERT_EQ(request.status, GuestAddress{0x4000});
        }
    }
    put(0x1000, Header{in, 0, 7});
    ASSERT_TRUE(parse({{{0x1000}, 16}}, {{{0x2000}, 513}}));
    EXPECT_EQ(request.data_length, 512U);
    EXPECT_EQ(request.status, GuestAddress{0x2200});
}

TEST_F(BlockRequestTest, HostileRequestsAreRefused) {
    constexpr auto io = BlockStatus::io_error;
    constexpr auto unsupported = BlockStatus::unsupported;
    const std::vector<Buffer> header = {{{0x1000}, 16}};
    const std::vector<Buffer> status = {{{0x4000}, 1}};
    const auto with = [](std::vector<Buffer> buffers, Buffer more) {
        buffers.push_back(more);
        return buffers;
    };
    const auto sector_of_data = with(header, {{0x2000}, 512});
    struct Case {
        const char* name;
        Header request;
        std::vector<Buffer> readable;
        std::vector<Buffer> writable;
        BlockStatus answer;
        bool answered = true;
    };
    const std::vector<Case> cases = {
        {"no header", {in, 0, 0}, {}, {{{0x2000}, 512}, {{0x4000}, 1}}, io},
        {"short header", {in, 0, 0}, {{{0x1000}, 15}}, {{{0x2000}, 512}, {{0x4000}, 1}}, io},
        {"header outside RAM", {in, 0, 0}, {{{ram}, 16}}, status, io},
        {"header at the end of RAM", {in, 0, 0}, {{{ram - 8}, 16}}, status, io},
        {"header wraps", {in, 0, 0}, {{{~0ULL - 7}, 16}}, status, io},
        {"no status", {in, 0, 0}, header, {}, io, false},
        {"empty status", {in, 0, 0}, header, {{{0x4000}, 0}}, io, false},
        {"status is readable", {out, 0, 0}, with(sector_of_data, {{0x4000}, 1}), {}, io, false},
        {"status outside RAM", {flush, 0, 0}, header, {{{ram}, 1}}, io, false},
        {"status wraps", {flush, 0, 0}, header, {{{~0ULL}, 5}}, io, false},
        {"R6 no data, sector beyond the end", {in, 0, 101}, header, status, io},
        {"odd length", {in, 0, 0}, header, {{{0x2000}, 511}, {{0x4000}, 1}}, io},
        {"odd length of a write", {out, 0, 0}, with(header, {{0x2000}, 100}), status, io},
        {"one past the end", {in, 0, 99}, header, {{{0x2000}, 1024}, {{0x4000}, 1}}, io},
        {"sector wraps", {in, 0, ~0ULL}, header, {{{0x2000}, 512}, {{0x4000}, 1}}, io},
        {"sector wraps in bytes", {out, 0, 1ULL << 55}, sector_of_data, status, io},
        {"R9 four gigabytes", {in, 0, 0}, header, {{{0x2000}, 0xfffffe00}, {{0x4000}, 1}}, io},
        {"R15 a read with data for the device", {in, 0, 0}, sector_of_data, {{{0x2000}, 512}, {{0x4000}, 1}}, io},
        {"R15 a write with room for data", {out, 0, 0}, sector_of_data, {{{0x3000}, 8}, {{0x4000}, 1}}, io},
        {"R7 data wraps", {out, 0, 0}, with({{{0x1000}, 8}, {{0x1008}, 8}}, {{~0ULL}, 7}), status, io},
        {"unknown type", {77, 0, 0}, header, status, unsupported},
        {"SCSI passthrough", {2, 0, 0}, sector_of_data, status, unsupported},
        {"discard without segments", {discard, 0, 0}, header, status, io},
        {"discard of a part", {discard, 0, 0}, with(header, {{0x2000}, 15}), status, io},
        {"discard of too many segments", {discard, 0, 0}, with(header, {{0x2000}, 48}), status, io},
        {"discard of 4 GiB of segments", {discard, 0, 0}, with(header, {{0x2000}, 0xfffffff0}), status, io},
        {"discard outside RAM", {discard, 0, 0}, with(header, {{ram - 8}, 16}), status, io},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        put(0x1000, c.request);
        const auto parsed = parse(c.readable, c.writable);
        ASSERT_FALSE(parsed);
        EXPECT_EQ(parsed.error().status, c.answer);
        EXPECT_EQ(parsed.error().answer.has_value(), c.answered);
    }
}

TEST_F(BlockRequestTest, EmptyTransfersInsideTheDiskAreFine) {
    for (const std::uint32_t type : {std::uint32_t{in}, std::uint32_t{out}}) {
        put(0x1000, Header{type, 0, 100});
        ASSERT_TRUE(parse({{{0x1000}, 16}}, {{{0x4000}, 1}}));
        EXPECT_EQ(request.data_length, 0U);
        EXPECT_TRUE(request.data.empty());
    }
}

TEST_F(BlockRequestTest, RangesAreCheckedOneByOne) {
    constexpr auto ok = BlockStatus::ok;
    constexpr auto io = BlockStatus::io_error;
    constexpr auto unsupported = BlockStatus::unsupported;
    struct Case {
        const char* name;
        std::uint32_t type;
        std::array<Range, 2> ranges;
        BlockStatus answer;
    };
    const Case cases[] = {
        {"discard", discard, {{{0, 50, 0}, {50, 50, 0}}}, ok},
        {"zeroes", write_zeroes, {{{0, 50, 1}, {99, 1, 0}}}, ok},
        {"empty", discard, {{{0, 0, 0}, {100, 0, 0}}}, ok},
        {"too long", discard, {{{0, 51, 0}, {0, 1, 0}}}, io},
        {"second beyond the end", discard, {{{0, 1, 0}, {99, 2, 0}}}, io},
        {"wraps", write_zeroes, {{{~0ULL, 1, 0}, {0, 1, 0}}}, io},
        {"discard with unmap", discard, {{{0, 1, 1}, {0, 1, 0}}}, unsupported},
        {"unknown flag", write_zeroes, {{{0, 1, 0}, {0, 1, 3}}}, unsupported},
        {"reserved flag", discard, {{{0, 1, 0x80000000}, {0, 1, 0}}}, unsupported},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        put(0x1000, Header{c.type, 0, 0});
        put(0x2000, c.ranges);
        const auto parsed = parse({{{0x1000}, 16}, {{0x2000}, 20}, {{0x2014}, 12}}, {{{0x4000}, 1}});
        EXPECT_EQ(parsed ? BlockStatus::ok : parsed.error().status, c.answer);
    }
    put(0x1000, Header{discard, 0, 0});
    put(0x2000, std::array{Range{1, 2, 0}, Range{5, 0, 0}});
    ASSERT_TRUE(parse({{{0x1000}, 16}, {{0x2000}, 32}}, {{{0x4000}, 1}}));
    ASSERT_EQ(request.ranges.size(), 1U);
    EXPECT_EQ(request.ranges[0].offset, 512U);
    EXPECT_EQ(request.ranges[0].length, 1024U);
    EXPECT_TRUE(request.ranges[0].unmap);
}

TEST_F(BlockRequestTest, WhatTheDeviceCannotDoIsRefused) {
    put(0x2000, Range{0, 1, 0});
    const std::vector<Buffer> readable = {{{0x1000}, 16}, {{0x2000}, 16}};
    limits.discard = limits.write_zeroes = false;
    for (const std::uint32_t type : {std::uint32_t{discard}, std::uint32_t{write_zeroes}}) {
        put(0x1000, Header{type, 0, 0});
        EXPECT_EQ(parse(readable, {{{0x4000}, 1}}).error().status, BlockStatus::unsupported);
    }
    limits = {.capacity = 100,
              .read_only = true,
              .discard = true,
              .write_zeroes = true,
              .max_range_sectors = 50,
              .max_range_segments = 2};
    for (const std::uint32_t type : {std::uint32_t{out}, std::uint32_t{discard}, std::uint32_t{write_zeroes}}) {
        put(0x1000, Header{type, 0, 0});
        EXPECT_EQ(parse({{{0x1000}, 16}, {{0x2000}, 512}}, {{{0x4000}, 1}}).error().status, BlockStatus::io_error);
    }
}

} // namespace
} // namespace aerate
