#include "etcd/http.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::etcd {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

Result<HttpAnswer> read(std::string_view text, std::size_t piece) {
    HttpReader reader;
    while (!reader.done()) {
        if (auto taken = reader.take(bytes(text.substr(0, piece))); !taken)
            return std::unexpected(taken.error());
        text.remove_prefix(std::min(piece, text.size()));
    }
    return reader.answer();
}

TEST(EtcdHttp, AnAnswerIsReadHoweverItIsCut) {
    const std::string_view by_length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const std::string_view in_chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    const std::string_view to_the_end = "HTTP/1.0 200 OK\r\n\r\nhello";
    for (const std::string_view text : {by_length, in_chunks, to_the_end}) {
        for (std::size_t piece = 1; piece <= text.size(); ++piece) {
            const auto answer = read(text, piece);
            ASSERT_TRUE(answer) << text << piece << answer.error().message;
            EXPECT_EQ(answer->status, 200U);
            EXPECT_EQ(answer->body, "hello");
        }
    }
}

TEST(EtcdHttp, M22_WhatIsCutOrTooLongIsRefused) {
    for (const std::string& text :
         {std::string(), std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
          std::string("SSH-2.0-x\r\n\r\n"), std::string("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"),
          "HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n",
          "HTTP/1.1 200 OK\r\n\r\n" + std::string(70'000, 'a')})
        for (const std::size_t piece : {1U, 7U, 4096U})
            EXPECT_FALSE(read(text, piece)) << text.substr(0, 60);
}

TEST(EtcdHttp, M22_WhateverComesIsReadOrRefused) {
    std::mt19937 random(1);
    const std::string whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n";
    for (int i = 0; i < 20'000; ++i) {
        std::string text = whole;
        for (auto changes = 1 + random() % 4; changes > 0; --changes)
            text[random() % text.size()] = static_cast<char>(random());
        const auto answer = read(text, 1 + random() % 40);
        EXPECT_TRUE(!answer || answer->body.size() <= HttpReader::longest_body);
    }
}

TEST(EtcdHttp, ARequestSaysHowLongItIs) {
    EXPECT_EQ(http_request("10.0.0.1:2379", "/v3/kv/txn", "t.1", "{}"),
              "POST /v3/kv/txn HTTP/1.1\r\nHost: 10.0.0.1:2379\r\nContent-Type: application/json\r\n"
              "Connection: close\r\nContent-Length: 2\r\nAuthorization: t.1\r\n\r\n{}");
}

} // namespace
} // namespace aerate::etcd
