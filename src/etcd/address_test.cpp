#include "etcd/address.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::etcd {
namespace {

TEST(EtcdAddress, HasMembersANameAndWhatLetsUsIn) {
    const auto address = Address::parse("etcd:10.0.0.1:2379,[2001:db8::7]:2379/web-1,ca=/c/ca.pem,cert=/c/a.pem,"
                                        "key=/c/a.key,login=/c/login");
    ASSERT_TRUE(address) << address.error().message;
    ASSERT_EQ(address->members.size(), 2U);
    EXPECT_EQ(host_and_port(address->members[1]), "[2001:db8::7]:2379");
    EXPECT_EQ(address->key(), "aerate/lease/web-1");
    EXPECT_EQ(address->ca_path, "/c/ca.pem");
    EXPECT_EQ(address->certificate_path, "/c/a.pem");
    EXPECT_EQ(address->key_path, "/c/a.key");
    EXPECT_EQ(address->login_path, "/c/login");
    EXPECT_TRUE(Address::parse("etcd:localhost:2379/web,plain"));
    EXPECT_TRUE(Address::parse("etcd:localhost:2379/web,plain,login=/l"));
}

TEST(EtcdAddress, WhatIsWrongIsNamed) {
    for (const auto& [text, why] : std::initializer_list<std::pair<const char*, const char*>>{
             {"/shared/lease", "begins with etcd:"},
             {"etcd:10.0.0.1:2379", "name is missing"},
             {"etcd:/web,plain", "member is missing"},
             {"etcd:10.0.0.1:2379,/web,plain", "member is missing"},
             {"etcd:10.0.0.1/web,plain", "port is missing"},
             {"etcd:node1:2379/web,plain", "not a numeric address"},
             {"etcd:10.0.0.1:2379/,plain", "letters, digits"},
             {"etcd:10.0.0.1:2379/../x,plain", "letters, digits"},
             {"etcd:10.0.0.1:2379/web", "either protected"},
             {"etcd:10.0.0.1:2379/web,ca=/a,plain", "either protected"},
             {"etcd:10.0.0.1:2379/web,plain,cert=/a,key=/b", "either protected"},
             {"etcd:10.0.0.1:2379/web,ca=/a,cert=/b", "belong together"},
             {"etcd:10.0.0.1:2379/web,ca=a", "absolute path"},
             {"etcd:10.0.0.1:2379/web,ca=/a,ca=/b", "twice"},
             {"etcd:10.0.0.1:2379/web,ttl=3", "is not one of"}}) {
        const auto address = Address::parse(text);
        ASSERT_FALSE(address) << text;
        EXPECT_TRUE(address.error().message.contains(why)) << address.error().message;
    }
    std::string many = "etcd:";
    for (std::size_t i = 0; i <= Address::max_members; ++i)
        many += "10.0.0.1:2379,";
    many.back() = '/';
    EXPECT_TRUE(Address::parse(many + "web,plain").error().message.contains("more than 16"));
}

TEST(EtcdAddress, WhateverIsTypedIsReadOrRefused) {
    std::mt19937 random(1);
    const std::string whole = "etcd:10.0.0.1:2379,[::1]:1/web,ca=/a,cert=/b,key=/c,login=/d";
    for (int i = 0; i < 20'000; ++i) {
        std::string text = whole;
        for (auto changes = 1 + random() % 4; changes > 0; --changes)
            text[random() % text.size()] = ",/:=abc\n"[random() % 8];
        if (const auto address = Address::parse(text)) {
            EXPECT_FALSE(address->members.empty());
            EXPECT_FALSE(address->name.contains('/'));
        }
    }
}

} // namespace
} // namespace aerate::etcd
