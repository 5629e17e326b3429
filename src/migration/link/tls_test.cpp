// Migrations over TLS: who gets through, and that everybody else leaves the guest where it is.
#include "base/testing/other_user.hpp"
#include "migration/testing/certificates.hpp"
#include "migration/testing/wire.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

namespace aerate::migration {
namespace {

using namespace testing;

FakeSource::Options small_guest() {
    return {.layout = {{{{0}, {2U << 20}}}, Backing::anonymous}, .filled = 40};
}

struct Parties {
    FakeSource from{small_guest()};
    FakeDestination to;
    Migration migration;

    void meet(const Tls* source, const Tls* destination, SocketPair sockets = tcp_pair()) {
        use(source, destination);
        migration.run(from, to, std::move(sockets));
    }
    void meet(const Tls* source, const Tls* destination, Fault fault) {
        use(source, destination);
        passed = migration.run(from, to, fault, true);
    }
    void use(const Tls* source, const Tls* destination) {
        migration.source_options.tls = source;
        migration.destination_options.tls = destination;
    }
    std::array<std::uint64_t, 2> passed{};
};

void expect_moved(Parties& parties) {
    EXPECT_EQ(parties.migration.source.outcome, Outcome::moved) << parties.migration.source.error;
    ASSERT_TRUE(parties.migration.destination) << parties.migration.destination.error().message;
    EXPECT_TRUE(parties.to.running);
    EXPECT_EQ(parties.from.wrong(*parties.to.memory()), 0U);
}

void expect_stayed(Parties& parties, std::string_view said_at_source, std::string_view said_at_destination) {
    EXPECT_EQ(parties.migration.source.outcome, Outcome::stayed);
    EXPECT_TRUE(parties.from.running());
    EXPECT_FALSE(parties.to.running);
    EXPECT_EQ(parties.to.memory(), nullptr);
    EXPECT_NE(parties.migration.source.error.find(said_at_source), std::string::npos) << parties.migration.source.error;
    ASSERT_FALSE(parties.migration.destination);
    const std::string& error = parties.migration.destination.error().message;
    EXPECT_NE(error.find(said_at_destination), std::string::npos) << error;
}

TEST(Tls, AGuestMovesBetweenSidesThatProveWhoTheyAre) {
    const TemporaryDirectory directory;
    const auto secret = load({.psk_path = secret_file(directory, "psk", 'k')});
    const auto same = load({.psk_path = secret_file(directory, "copy", 'k')});
    const Authority authority(directory, "authority");
    const auto here = load(authority.issue("here"));
    const auto there = load(authority.issue("there"));
    for (auto* sockets : {tcp_pair, unix_pair})
        for (const auto& [source, destination] : {std::pair(secret.get(), same.get()), {here.get(), there.get()}}) {
            Parties parties;
            parties.meet(source, destination, sockets());
            expect_moved(parties);
        }
}

TEST(Tls, TheDestinationsCertificateIsForItsAddressOrForTheNameThatWasGiven) {
    const TemporaryDirectory directory;
    const Authority authority(directory, "authority");
    const auto named = load(authority.issue("named", {.names = "DNS:there.example"}));
    const auto by_address = load(authority.issue("plainly"));
    Protection wanted = authority.issue("source");
    wanted.peer_name = "there.example";
    const auto by_name = load(wanted);
    {
        Parties parties;
        parties.meet(by_name.get(), named.get());
        expect_moved(parties);
    }
    {
        Parties parties;
        parties.meet(by_address.get(), named.get());
        expect_stayed(parties, "IP address mismatch", "");
    }
    {
        Parties parties;
        parties.meet(by_name.get(), by_address.get());
        expect_stayed(parties, "hostname mismatch", "");
    }
}

TEST(Tls, M17_WhoCannotProveWhoTheyAreGetNothing) {
    const TemporaryDirectory directory;
    const Authority authority(directory, "authority");
    const Authority stranger(directory, "stranger");
    const auto secret = load({.psk_path = secret_file(directory, "psk", 'k')});
    const auto other_secret = load({.psk_path = secret_file(directory, "other", 'x')});
    const auto certified = load(authority.issue("certified"));
    const auto foreign = load(stranger.issue("foreign"));
    const auto expired = load(authority.issue("expired", {.ends_in = -60}));
    const auto only_server = load(authority.issue("server", {.purpose = "serverAuth"}));
    const auto only_client = load(authority.issue("client", {.purpose = "clientAuth"}));
    struct Case {
        const char* what;
        const Tls* source;
        const Tls* destination;
        const char* said_at_source;
        const char* said_at_destination;
    };
    const std::vector<Case> cases{
        {"another secret", secret.get(), other_secret.get(), "TLS with the other side", "TLS with the other side"},
        {"a secret against certificates", secret.get(), certified.get(), "certificate", "TLS with the other side"},
        {"certificates against a secret", certified.get(), secret.get(), "TLS with the other side",
         "TLS with the other"},
        {"a foreign destination", certified.get(), foreign.get(), "its certificate: ", "unknown ca"},
        {"a foreign source", foreign.get(), certified.get(), "its certificate: ", ""},
        {"an expired destination", certified.get(), expired.get(), "certificate has expired", "certificate expired"},
        {"an expired source", expired.get(), certified.get(), "certificate expired", "certificate has expired"},
        {"a server that may only be a client", certified.get(), only_client.get(), "unsuitable certificate purpose",
         ""},
        {"a client that may only be a server", only_server.get(), certified.get(), "",
         "unsuitable certificate purpose"},
        {"a destination in the clear", secret.get(), nullptr, "does not speak TLS", "not a migration stream"},
        {"a source in the clear", nullptr, secret.get(), "expect TLS", ""},
    };
    for (const Case& bad : cases) {
        SCOPED_TRACE(bad.what);
        Parties parties;
        parties.migration.source_options.deadline = parties.migration.destination_options.deadline = 500ms;
        parties.meet(bad.source, bad.destination);
        expect_stayed(parties, bad.said_at_source, bad.said_at_destination);
    }
}

TEST(Tls, M17_AnOlderTlsIsRefusedByBothSides) {
    const TemporaryDirectory directory;
    const Authority authority(directory, "authority");
    const auto ours = load(authority.issue("ours"));
    const Protection files = authority.issue("old");
    for (const bool as_destination : {false, true}) {
        auto [left, right] = tcp_pair();
        std::jthread old([&, socket = std::move(left)] {
            SSL_CTX* context = SSL_CTX_new(TLS_method());
            CHECK(SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION) == 1);
            CHECK(SSL_CTX_use_certificate_chain_file(context, files.certificate_path.c_str()) == 1);
            CHECK(SSL_CTX_use_PrivateKey_file(context, files.key_path.c_str(), SSL_FILETYPE_PEM) == 1);
            SSL* ssl = SSL_new(context);
            SSL_set_fd(ssl, socket.get());
            EXPECT_NE(as_destination ? SSL_accept(ssl) : SSL_connect(ssl), 1);
            SSL_free(ssl);
            SSL_CTX_free(context);
        });
        if (as_destination) {
            FakeSource from(small_guest());
            RunningSource leaving(std::move(right), from, {.tls = ours.get()});
            const SourceResult result = leaving.wait();
            EXPECT_EQ(result.outcome, Outcome::stayed);
            EXPECT_NE(result.error.find("does not speak TLS 1.3"), std::string::npos) << result.error;
            EXPECT_TRUE(from.running());
        } else {
            FakeDestination to;
            Destination arriving(std::move(right), to, {.tls = ours.get()});
            const auto report = arriving.receive();
            ASSERT_FALSE(report);
            EXPECT_NE(report.error().message.find("does not speak TLS 1.3"), std::string::npos)
                << report.error().message;
        }
    }
}

TEST(Tls, M17_CutsAndFlippedBitsOnTheWayLeaveTheGuestAtTheSourceOrWithNobody) {
    const TemporaryDirectory directory;
    const auto secret = load({.psk_path = secret_file(directory, "psk", 'k')});
    Parties whole;
    whole.meet(secret.get(), secret.get(), Fault{});
    expect_moved(whole);
    unsigned stayed = 0;
    for (const Fault::Kind kind : {Fault::Kind::cut, Fault::Kind::flip, Fault::Kind::reset})
        for (const bool to_source : {false, true})
            for (std::uint64_t at = 0; at < whole.passed[to_source ? 1 : 0]; at += to_source ? 7 : 499) {
                Parties parties;
                parties.meet(secret.get(), secret.get(), Fault{kind, to_source, at, static_cast<std::uint8_t>(at)});
                EXPECT_FALSE(parties.from.running() && parties.to.running);
                const Outcome outcome = parties.migration.source.outcome;
                stayed += outcome == Outcome::stayed ? 1U : 0U;
                EXPECT_EQ(parties.from.running(), outcome == Outcome::stayed);
                EXPECT_TRUE(outcome != Outcome::moved || parties.to.running);
                EXPECT_EQ(parties.to.running, parties.migration.destination.has_value());
                if (parties.to.running) {
                    EXPECT_EQ(parties.from.wrong(*parties.to.memory()), 0U);
                }
                ASSERT_FALSE(HasFailure()) << "at byte " << at << (to_source ? " to the source" : "");
            }
    EXPECT_GT(stayed, 300U);
}

TEST(Tls, ACutStreamIsToldFromOneThatWasEnded) {
    const TemporaryDirectory directory;
    const auto secret = load({.psk_path = secret_file(directory, "psk", 'k')});
    for (const bool ended : {false, true}) {
        auto [left, right] = tcp_pair();
        const EventFd never = std::move(*EventFd::create());
        const auto client = connect_channel(std::move(left), never, secret.get(), TlsSide::client);
        auto server = connect_channel(std::move(right), never, secret.get(), TlsSide::server);
        std::jthread other([&] {
            EXPECT_TRUE(server->open(1s));
            if (ended)
                server->finish(0ms);
            server.reset();
        });
        ASSERT_TRUE(client->open(1s));
        std::array<std::byte, 1> byte{};
        const auto received = client->receive(byte, 1s);
        ASSERT_FALSE(received);
        EXPECT_NE(received.error().message.find(ended ? "has closed the connection" : "was cut"), std::string::npos)
            << received.error().message;
    }
}

std::string refusal(const Result<std::unique_ptr<const Tls>>& loaded) {
    return loaded ? "" : loaded.error().message;
}

TEST(Tls, FilesThatCannotBeUsedAreNamed) {
    const TemporaryDirectory directory;
    const Authority authority(directory, "authority");
    const Protection good = authority.issue("good");
    const Protection other = authority.issue("other");
    const auto with = [&](auto change) {
        Protection changed = good;
        change(changed);
        return refusal(Tls::load(changed));
    };
    EXPECT_EQ(with([](Protection&) {}), "");
    EXPECT_NE(with([](Protection& p) { p.key_path = {}; }).find("three files"), std::string::npos);
    EXPECT_NE(with([](Protection& p) { p.psk_path = "x"; }).find("not by both"), std::string::npos);
    EXPECT_NE(with([&](Protection& p) { p.certificate_path = directory / "none"; }).find("No such file"),
              std::string::npos);
    EXPECT_NE(with([&](Protection& p) { p.key_path = other.key_path; }).find("other.key: key values mismatch"),
              std::string::npos);
    EXPECT_NE(with([&](Protection& p) { p.ca_path = secret_file(directory, "junk", 'x'); }).find("junk"),
              std::string::npos);
    for (const std::size_t length : {0U, 31U, 33U})
        EXPECT_NE(refusal(Tls::load({.psk_path = secret_file(directory, "short", 'x', length)})).find("of 32 bytes"),
                  std::string::npos);
    EXPECT_NE(refusal(Tls::load({.psk_path = directory / "none"})).find("No such file"), std::string::npos);
}

TEST(Tls, S8_ASecretThatOthersCanReadOrReplaceIsRefused) {
    const TemporaryDirectory directory;
    const Authority authority(directory, "authority");
    const std::string psk = secret_file(directory, "psk", 'k');
    const Protection files = authority.issue("good");
    for (const auto& [path, protection] : {std::pair{psk, Protection{.psk_path = psk}}, {files.key_path, files}}) {
        for (const mode_t mode : {0644U, 0604U, 0602U, 0640U, 0660U, 0620U, 0610U}) {
            ASSERT_EQ(::chmod(path.c_str(), mode), 0);
            EXPECT_NE(refusal(Tls::load(protection)).find("chmod 600 " + path), std::string::npos) << std::oct << mode;
        }
        for (const mode_t mode : {0400U, 0600U}) {
            ASSERT_EQ(::chmod(path.c_str(), mode), 0);
            EXPECT_EQ(refusal(Tls::load(protection)), "") << std::oct << mode;
        }
    }
    AERATE_NEEDS_ANOTHER_USER();
    for (const auto& [path, protection] : {std::pair{psk, Protection{.psk_path = psk}}, {files.key_path, files}}) {
        ASSERT_EQ(::chown(path.c_str(), other_user, 0), 0);
        EXPECT_NE(refusal(Tls::load(protection)).find("it belongs to user 65534"), std::string::npos);
    }
}

TEST(Tls, S1_M20_NoAddressIsTrustedForBeingNear) {
    const TemporaryDirectory directory;
    const Protection secret{.psk_path = secret_file(directory, "psk", 'k')};
    for (const char* where :
         {"tcp:192.0.2.7:1", "tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:[2001:db8::7]:1", "tcp:127.0.0.1:1", "tcp:127.9.9.9:1",
          "tcp:[::1]:1", "tcp:localhost:1", "tcp:[::ffff:127.0.0.1]:1"}) {
        const auto endpoint = Endpoint::parse(where).value();
        EXPECT_NE(refusal(protect(endpoint, {})).find("is not authenticated"), std::string::npos) << where;
        EXPECT_EQ(protect(endpoint, {.plain = true}).value(), nullptr);
        EXPECT_NE(protect(endpoint, secret).value(), nullptr);
    }
    const auto local = Endpoint::parse("unix:/run/x").value();
    EXPECT_EQ(protect(local, {}).value(), nullptr) << "its users are asked for";
    EXPECT_NE(protect(local, secret).value(), nullptr);
    Protection both = secret;
    both.plain = true;
    EXPECT_NE(refusal(protect(Endpoint::parse("tcp:127.0.0.1:1").value(), both)).find("leave one"), std::string::npos);
}

} // namespace
} // namespace aerate::migration
