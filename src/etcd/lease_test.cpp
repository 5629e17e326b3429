#include "base/testing/temporary_directory.hpp"
#include "etcd/lease.hpp"
#include "etcd/testing/fake_etcd.hpp"
#include "migration/testing/lease_rules.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace aerate::etcd {
namespace {

using migration::Session;
using migration::Side;
using namespace std::chrono_literals;

constexpr TimeLimits quick{.overall = 400ms, .member = 60ms, .pause = 5ms};

struct LeaseInEtcd : ::testing::Test {
    [[nodiscard]] std::unique_ptr<EtcdLease> open(TimeLimits limits = {}, const std::string& more = "") const {
        auto lease = EtcdLease::open(*Address::parse(cluster.address() + more), limits);
        EXPECT_TRUE(lease) << lease.error().message;
        return std::move(*lease);
    }
    [[nodiscard]] migration::testing::OpenLease opener() const {
        return [this] { return open(); };
    }
    testing::FakeEtcd cluster{3};
};

TEST_F(LeaseInEtcd, TheFirstClaimOfASessionWinsForEver) {
    migration::testing::expect_that_the_first_claim_wins_for_ever(opener());
}

TEST_F(LeaseInEtcd, WhoSleptThroughALaterMigrationWinsNothing) {
    migration::testing::expect_that_who_slept_through_a_later_move_wins_nothing(opener());
}

TEST_F(LeaseInEtcd, OfManyWhoClaimAtOnceOneWins) {
    migration::testing::expect_that_of_many_at_once_one_wins(opener());
}

TEST_F(LeaseInEtcd, AClaimIsOneQuestion) {
    const auto lease = open();
    const auto terms = *lease->terms();
    const unsigned before = cluster.questions();
    EXPECT_TRUE(*lease->claim(terms, Session::random(), Side::source));
    EXPECT_EQ(cluster.questions(), before + 1);
}

TEST_F(LeaseInEtcd, AReplacedOrRemovedLeaseDecidesNothing) {
    const auto lease = open();
    const auto terms = *lease->terms();
    cluster.remove("aerate/lease/web");
    EXPECT_FALSE(lease->claim(terms, Session::random(), Side::source));
    EXPECT_NE(*open()->terms(), terms);
    EXPECT_FALSE(lease->claim(terms, Session::random(), Side::source));
    cluster.put("aerate/lease/web", "mine");
    const auto foreign = open(quick)->terms();
    ASSERT_FALSE(foreign);
    EXPECT_TRUE(foreign.error().message.contains("aerate/lease/web is not a lease of aerate"))
        << foreign.error().message;
}

/// One that spoils the first `count` answers.
testing::Spoil first(unsigned count, testing::Spoil how) {
    return [left = std::make_shared<std::atomic<unsigned>>(count), how = std::move(how)](const std::string& answer) {
        return left->load() > 0 && left->fetch_sub(1) > 0 ? how(answer) : answer;
    };
}

/// What is claimed while answers are spoilt is claimed once, and asked again says the same.
void expect_one_owner(EtcdLease& one, EtcdLease& other) {
    const auto terms = one.terms();
    if (!terms)
        return;
    const Session session = Session::random();
    const auto destination = one.claim(*terms, session, Side::destination);
    const auto source = other.claim(*terms, session, Side::source);
    EXPECT_FALSE(destination.value_or(false) && source.value_or(false));
    EXPECT_TRUE(!source || *source || !destination || *destination) << "somebody has it, unless nobody knows";
    const auto again = one.claim(*terms, session, Side::destination);
    EXPECT_TRUE(!again || !destination || *again == *destination);
}

TEST_F(LeaseInEtcd, M23_AnAnswerThatIsCutAnywhereDecidesNothingWrong) {
    std::size_t length = 0;
    cluster.spoil(0, first(1, [&](const std::string& answer) { return length = answer.size(), answer; }));
    const auto one = open();
    const auto other = open();
    ASSERT_TRUE(one->terms());
    ASSERT_GT(length, 100U);
    for (std::size_t at = 0; at < length + 40; at += 3) {
        // The claim's own answer is lost at its member, after the claim was carried out; the next member is asked.
        const auto terms = *one->terms();
        const Session session = Session::random();
        cluster.spoil(0, first(1, [at](const std::string& answer) { return answer.substr(0, at); }));
        const auto mine = one->claim(terms, session, Side::destination);
        ASSERT_TRUE(mine) << mine.error().message;
        EXPECT_TRUE(*mine) << at;
        EXPECT_FALSE(*other->claim(terms, session, Side::source)) << at;
    }
}

TEST_F(LeaseInEtcd, M23_WhateverHappensToAnswersThereIsOneOwner) {
    std::mt19937 random(1);
    const auto slow = [](const std::string& answer) {
        std::this_thread::sleep_for(70ms); // longer than one attempt may take
        return answer;
    };
    const std::vector<testing::Spoil> ways{
        [](const std::string& answer) { return answer.substr(0, answer.size() / 2); },
        [](const std::string&) { return std::string(); },
        slow,
        [](const std::string& answer) { return answer + answer; },
        [](const std::string&) { return std::string("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"); },
        [](const std::string& answer) {
            std::string spoilt = answer;
            spoilt[spoilt.size() - 20] = '\x01';
            return spoilt;
        }};
    for (int i = 0; i < 60; ++i) {
        cluster.carry_out_twice(i % 3 == 0);
        for (std::size_t member = 0; member < 3; ++member)
            cluster.spoil(member, first(static_cast<unsigned>(random() % 3), ways[random() % ways.size()]));
        const auto one = open(quick);
        const auto other = open(quick);
        expect_one_owner(*one, *other);
    }
}

TEST_F(LeaseInEtcd, M23_AClusterThatDoesNotAnswerIsGivenUpInTime) {
    const auto lease = open(quick);
    const auto terms = *lease->terms();
    for (std::size_t member = 0; member < 3; ++member)
        cluster.spoil(member, [](const std::string&) { return std::string(); });
    const auto began = std::chrono::steady_clock::now();
    const auto claimed = lease->claim(terms, Session::random(), Side::source);
    ASSERT_FALSE(claimed);
    EXPECT_TRUE(claimed.error().message.contains("did not answer within 400 ms")) << claimed.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - began, 10 * quick.overall);
}

TEST_F(LeaseInEtcd, M23_AMemberThatSaysNothingIsPassedBy) {
    cluster.spoil(0, [](const std::string& answer) {
        std::this_thread::sleep_for(200ms);
        return answer;
    });
    const auto lease = open({.overall = 5s, .member = 50ms, .pause = 5ms});
    const auto terms = lease->terms();
    ASSERT_TRUE(terms) << terms.error().message;
    EXPECT_TRUE(*lease->claim(*terms, Session::random(), Side::source));
}

struct LeaseWithLogin : LeaseInEtcd {
    LeaseWithLogin() { write("aerate:secret"); }
    void write(const std::string& text) const {
        std::ofstream(path) << text;
        (void)::chmod(path.c_str(), 0600);
    }
    [[nodiscard]] std::string word() const { return ",login=" + path; }
    TemporaryDirectory directory;
    std::string path = directory / "login";
};

TEST_F(LeaseWithLogin, LogsInOnceAndAgainWhenItIsForgotten) {
    cluster.want_login("aerate:secret");
    const auto lease = open({}, word());
    const auto terms = lease->terms();
    ASSERT_TRUE(terms) << terms.error().message;
    EXPECT_TRUE(*lease->claim(*terms, Session::random(), Side::source));
    EXPECT_EQ(cluster.logins(), 1U);
    cluster.forget_logins();
    EXPECT_TRUE(lease->terms());
    EXPECT_EQ(cluster.logins(), 2U);
}

TEST_F(LeaseWithLogin, IsToldThatItIsNotLetIn) {
    cluster.want_login("aerate:other");
    const auto refused = open({}, word())->terms();
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("etcd refuses: ")) << refused.error().message;
    EXPECT_TRUE(refused.error().message.contains("does not let " + path + " in: etcdserver: authentication failed"));
    const auto stranger = open()->terms();
    ASSERT_FALSE(stranger);
    EXPECT_TRUE(stranger.error().message.contains("HTTP status 401, etcdserver: invalid auth token"));
}

TEST_F(LeaseWithLogin, NeedsAFileThatIsSecret) {
    const auto opened = [&] { return EtcdLease::open(*Address::parse(cluster.address() + word())); };
    (void)::chmod(path.c_str(), 0644);
    EXPECT_TRUE(opened().error().message.contains("chmod 600"));
    for (const char* text : {"", "aerate", ":secret", "a:b\nc:d"}) {
        write(text);
        EXPECT_TRUE(opened().error().message.contains("USER:PASSWORD")) << text;
    }
    write("aerate:secret\n");
    EXPECT_TRUE(opened());
}

TEST(Lease, IsAFileOrInEtcd) {
    const TemporaryDirectory directory;
    EXPECT_TRUE(open_lease(directory / "lease"));
    EXPECT_FALSE(open_lease("etcd:nowhere"));
    EXPECT_TRUE(open_lease("etcd:127.0.0.1:1/web,plain")) << "nobody is asked so far";
}

} // namespace
} // namespace aerate::etcd
