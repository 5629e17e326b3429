// The description of each request and answer: what is printed is read again as the same, and nothing is lost on the
// way.
#include "control/reply.hpp"
#include "control/router.hpp"
#include "control/schema_json.hpp"
#include "control/vm_event.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace aerate::control {
namespace {

using namespace literals;
using testing::HasSubstr;

/// Sends a request the way that Client::send() does, to the router.
template <typename T>
std::optional<T> sent(const T& request) {
    std::string body;
    if constexpr (Described<T>) {
        const auto json = print_object(request);
        EXPECT_TRUE(json) << json.error().message;
        body = print_json(*json);
    }
    auto arrived = route(T::endpoint.method, T::endpoint.path, body);
    if (!arrived || !std::holds_alternative<T>(*arrived)) {
        ADD_FAILURE() << T::endpoint.path << ": " << (arrived ? "another request" : arrived.error().message);
        return std::nullopt;
    }
    return std::get<T>(*std::move(arrived));
}

template <typename T>
std::string printed(const T& object) {
    return print_json(*print_object(object));
}

TEST(Schema, ARequestThatIsSentArrivesAsItWas) {
    const Migrate migrate{.destination = "tcp:h:1",
                          .downtime_limit = std::chrono::milliseconds(7),
                          .bandwidth = 512_KiB,
                          .max_rounds = 3,
                          .sweep = true,
                          .verify = true,
                          .auto_converge = true,
                          .force = true,
                          .lease_path = "/l",
                          .record_directory = "/r",
                          .compression = "zstd:3",
                          .streams = 4,
                          .delta_cache = 1536_KiB,
                          .psk_path = "/p",
                          .tls_certificate_path = "/c",
                          .tls_key_path = "/k",
                          .tls_ca_path = "/a",
                          .tls_name = "n",
                          .plain = true};
    EXPECT_EQ(printed(*sent(migrate)), printed(migrate));
    EXPECT_EQ(printed(*sent(Migrate{.destination = "unix:/x"})), printed(Migrate{.destination = "unix:/x"}));
    const TakeSnapshot take{.path = "/s", .diff = true, .track_dirty_pages = true, .sweep = true, .key_path = "/k"};
    EXPECT_EQ(printed(*sent(take)), printed(take));
    const LoadSnapshot load{
        .path = "/s", .verify = true, .prefetch = false, .record_working_set = std::chrono::seconds(9)};
    EXPECT_EQ(printed(*sent(load)), printed(load));
    EXPECT_EQ(sent(Squeeze{5_MiB})->keep, 5_MiB);
    EXPECT_TRUE(sent(SetPaused{.paused = true})->paused);
    EXPECT_TRUE(sent(SetPaused{.paused = false, .force = true})->force);
    EXPECT_EQ(sent(PatchBalloon{9_MiB})->target, 9_MiB);
    EXPECT_EQ(sent(PatchBalloonStatistics{std::chrono::seconds(4)})->polling_interval.count(), 4);
    EXPECT_FALSE(sent(StartHinting{.acknowledge_on_stop = false})->acknowledge_on_stop);
    EXPECT_EQ(sent(Stop{Stop::How::kill})->how, Stop::How::kill);
    const auto policy = sent(PutMemoryPolicy{{.floor = 3_MiB, .shares = 2, .priority = 1}});
    EXPECT_EQ(policy->policy, (MemoryPolicy{.floor = 3_MiB, .shares = 2, .priority = 1}));
    EXPECT_EQ(sent(PutPermit{5_KiB, std::chrono::seconds(9)})->time, std::chrono::seconds(9));
    EXPECT_TRUE(sent(GetPulse{}) && sent(GetEvents{}) && sent(GetMemoryMap{}));
    EXPECT_TRUE(sent(Sweep{}) && sent(GetMigration{}) && sent(CancelMigration{}) && sent(GetStatus{}) &&
                sent(StopHinting{}) && sent(GetHintingStatus{}));
}

TEST(Schema, AnAnswerIsReadAsItWasPrinted) {
    const MigrationStatus status{.phase = "copying", .error = "e", .round = 3, .sent = 5_KiB, .dirty_rate = {8}};
    const std::string body = print_reply(status).body;
    EXPECT_EQ(printed(*read_object<MigrationStatus>(*parse_json(body))), body);
    EXPECT_THAT(body, HasSubstr(R"("dirty_pages_per_second":8)"));
    EXPECT_EQ(print_reply(SnapshotStatus{}).body.find("parent"), std::string::npos);
}

// "--bandwidth 512K" was no limit at all, 1536K was 1M.
TEST(Schema, C6_SizesTravelInBytesAndAreNeverRounded) {
    for (const ByteCount size : {ByteCount{1}, 512_KiB, 1536_KiB, ByteCount{~std::uint64_t{0}}}) {
        EXPECT_EQ(sent(Migrate{.destination = "unix:/x", .bandwidth = size})->bandwidth, size);
        EXPECT_EQ(sent(Migrate{.destination = "unix:/x", .delta_cache = size})->delta_cache, size);
        EXPECT_EQ(sent(Squeeze{size})->keep, size);
    }
    for (const ByteCount size : {ByteCount{1}, 512_KiB, 1536_KiB}) {
        const auto json = print_object(PatchBalloon{size});
        ASSERT_FALSE(json);
        EXPECT_THAT(json.error().message, HasSubstr("not a whole number of MiB"));
        VmConfig config{.balloon = BalloonConfig{.target = size}};
        EXPECT_FALSE(validate(config));
    }
}

TEST(Schema, C7_AFieldIsKnownOrRefusedByName) {
    for (const auto* field : {"bandwidth_mib", "delta_cache_mib", "bandwith_bytes_per_second"}) {
        const auto refused =
            route("PUT", "/aerate/migration", fmt::format(R"({{"destination": "unix:/x", "{}": 1}})", field));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message, fmt::format("{}: unknown field", field));
    }
}

TEST(Schema, C8_ACommandLineThatNoKernelTakesIsRefusedAtOnce) {
    const auto put = [](std::size_t length) {
        return route("PUT", "/boot-source",
                     fmt::format(R"({{"kernel_image_path": "/k", "boot_args": "{}"}})", std::string(length, 'x')));
    };
    EXPECT_TRUE(put(2047));
    ASSERT_FALSE(put(2048));
    EXPECT_THAT(put(2048).error().message, HasSubstr("boot-source.boot_args: must have at most 2047 characters"));
}

TEST(Schema, NumbersStayInTheirRange) {
    EXPECT_FALSE(route("PUT", "/aerate/migration", R"({"destination": "unix:/x", "streams": 17})"));
    EXPECT_FALSE(route("PUT", "/aerate/migration", R"({"destination": "unix:/x", "streams": 4294967297})"));
    EXPECT_FALSE(route("PUT", "/aerate/squeeze", R"({"keep_bytes": -1})"));
    EXPECT_FALSE(route("PUT", "/aerate/squeeze", R"({"keep_bytes": 1.5})"));
    EXPECT_FALSE(route("PUT", "/aerate/squeeze", ""));
    for (const auto* time : {"999", "60001", "-1"})
        EXPECT_FALSE(route("PUT", "/aerate/permit", fmt::format(R"({{"target_bytes": 0, "for_ms": {}}})", time)));
    EXPECT_FALSE(route("PUT", "/aerate/permit", R"({"for_ms": 1000})"));
}

/// Collects the names of an object's fields.
struct Names {
    std::set<std::string> names{};
    template <typename T>
    void operator()(std::string_view name, T&&, const Rule& = {}) {
        names.emplace(name);
        using Value = std::remove_cvref_t<T>;
        if constexpr (Described<Value>) {
            Value value{};
            Value::describe(*this, value);
        }
    }
    void refuse(std::string_view name, std::string_view) { names.emplace(name); }
    template <typename T>
    void only(std::string_view name, T, std::string_view) {
        names.emplace(name);
    }
};

template <typename... T>
std::set<std::string> names_of() {
    Names names;
    const auto add = [&]<typename U>(U object) { U::describe(names, object); };
    (add(T{}), ...);
    return names.names;
}

TEST(Schema, EveryFieldIsInTheManual) {
    std::ifstream file(AERATE_API_MANUAL);
    std::stringstream manual;
    manual << file.rdbuf();
    for (const std::string& name :
         names_of<MachineConfigUpdate, BootSource, Drive, BalloonConfig, LoggerConfig, MetricsConfig, SerialConfig,
                  MmdsConfig, Action, SetPaused, StartHinting, Squeeze, TakeSnapshot, LoadSnapshot, Migrate, Stop,
                  HintingStatus, SweepStatus, SqueezeStatus, SnapshotStatus, MigrationStatus, VmStatus, MemoryByState,
                  MemoryPolicy, PutPermit, Pulse, MemoryMap, StateEvent, TargetReachedEvent, TakenBackEvent,
                  DistressEvent, StallsEvent>())
        EXPECT_TRUE(manual.str().contains("`" + name + "`") || manual.str().contains("\"" + name + "\"")) << name;
}

} // namespace
} // namespace aerate::control
