// In children: what a process gives up it cannot have back.
#include "base/host.hpp"
#include "confine/confinement.hpp"
#include "confine/testing/kernel_answers.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>

namespace aerate::confine {
namespace {

using testing::in_a_child;

constexpr auto main_calls = std::to_array<Rule>({
    {SYS_prctl, argument_is(0, PR_GET_SECCOMP)},
    {SYS_prctl, argument_is(0, PR_CAPBSET_READ)},
});
constexpr ThreadKind worker{.name = "worker", .calls = {every_thread}, .starts = {}};
constexpr std::array<const ThreadKind*, 1> workers{&worker};
constexpr ThreadKind main_kind{
    .name = "main", .calls = {main_calls, files, thread_starts, every_thread}, .starts = workers};

/// The value of a line of /proc/thread-self/status.
std::string of_this_thread(const std::string& field) {
    std::ifstream file("/proc/thread-self/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(field + ":")) {
            std::istringstream words(line.substr(field.size() + 1));
            std::string word;
            words >> word;
            return word;
        }
    return "";
}

/// In the child: ends it with the line of the first that does not hold.
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ::_exit(__LINE__ % 251 + 1);                                                                               \
    } while (false)

void begin_or_exit(Options options = {.use = Use::automatic}) {
    REQUIRE(begin(options));
}

TEST(Confinement, DescriptorsThatNobodyHandedOverAreClosed) {
    EXPECT_EQ(in_a_child([] {
                  const int kept = ::fcntl(STDIN_FILENO, F_DUPFD, 20);
                  const int stray = ::fcntl(STDIN_FILENO, F_DUPFD, 10);
                  const int far = ::fcntl(STDIN_FILENO, F_DUPFD, 300);
                  begin_or_exit({.use = Use::automatic, .handed_over = {kept, kept, 0}});
                  REQUIRE(::fcntl(kept, F_GETFD) >= 0 && ::fcntl(STDERR_FILENO, F_GETFD) >= 0);
                  REQUIRE(::fcntl(stray, F_GETFD) < 0 && ::fcntl(far, F_GETFD) < 0);
              }),
              0);
}

TEST(Confinement, TheFirstStepLeavesWhatOpeningFilesTakes) {
    EXPECT_EQ(in_a_child([] {
                  ::umask(002);
                  begin_or_exit();
                  REQUIRE(of_this_thread("NoNewPrivs") == "1");
                  REQUIRE(::umask(0) == 077);
                  rlimit core{1, 1};
                  REQUIRE(::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
                  const auto bounding = std::stoull(of_this_thread("CapBnd"), nullptr, 16);
                  REQUIRE(::geteuid() != 0 || (bounding >> CAP_SYS_NICE & 1) == 0);
                  REQUIRE((bounding >> CAP_SYS_MODULE & 1) == 0 || ::geteuid() != 0);
                  REQUIRE(::open("/dev/null", O_RDWR) >= 0);
                  const Holding holds = holding();
                  REQUIRE(has_begun() && holds.no_new_privileges && !holds.filtered && holds.dumpable);
              }),
              0);
}

TEST(Confinement, BeforeTheGuestTheRestGoes) {
    EXPECT_EQ(in_a_child([] {
                  begin_or_exit();
                  REQUIRE(before_guest(main_kind, {}));
                  REQUIRE(before_guest(main_kind, {}));
                  REQUIRE(of_this_thread("CapEff") == "0000000000000000");
                  REQUIRE(of_this_thread("CapPrm") == "0000000000000000");
                  REQUIRE(::geteuid() != 0 || of_this_thread("CapBnd") == "0000000000000000");
                  const Holding holds = holding();
                  REQUIRE(!holds.capabilities && !holds.dumpable);
                  REQUIRE(holds.filtered == testing::filters_can_be_tried);
                  REQUIRE(holds.lacks.empty() == testing::filters_can_be_tried);
                  REQUIRE(!testing::filters_can_be_tried || of_this_thread("Seccomp") == "2");
              }),
              0);
}

TEST(Confinement, AThreadIsConfinedByItsKindWheneverItStarts) {
    if (!testing::filters_can_be_tried)
        GTEST_SKIP() << "a sanitizer makes calls of its own";
    EXPECT_EQ(in_a_child([] {
                  begin_or_exit();
                  for (const bool late : {false, true}) {
                      if (late)
                          REQUIRE(before_guest(main_kind, {}));
                      bool refused = false;
                      {
                          const auto thread = host::start_thread(worker, "worker", [&](const std::stop_token&) {
                              refused = ::open("/dev/null", O_RDONLY) < 0 && errno == EACCES;
                          });
                          REQUIRE(thread.has_value());
                      }
                      REQUIRE(refused);
                      REQUIRE(::open("/dev/null", O_RDONLY) >= 0);
                  }
              }),
              0);
}

TEST(Confinement, OffIsOff) {
    EXPECT_EQ(in_a_child([] {
                  const int stray = ::fcntl(STDIN_FILENO, F_DUPFD, 10);
                  begin_or_exit({.use = Use::off});
                  REQUIRE(before_guest(main_kind, {}));
                  REQUIRE(::fcntl(stray, F_GETFD) >= 0 && of_this_thread("NoNewPrivs") == "0");
                  REQUIRE(!has_begun());
              }),
              0);
}

TEST(Confinement, ItsCostIsStated) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    EXPECT_EQ(in_a_child([&] {
                  const auto start = std::chrono::steady_clock::now();
                  begin_or_exit({.use = Use::automatic, .handed_over = {pipe[1]}});
                  REQUIRE(before_guest(main_kind, {}));
                  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
                  const double microseconds = took.count();
                  REQUIRE(::write(pipe[1], &microseconds, sizeof microseconds) == sizeof microseconds);
              }),
              0);
    double microseconds = 0;
    ASSERT_EQ(::read(pipe[0], &microseconds, sizeof microseconds), sizeof microseconds);
    ::close(pipe[0]);
    ::close(pipe[1]);
    RecordProperty("microseconds", std::to_string(microseconds));
    EXPECT_LT(microseconds, 100'000) << "of a bound of 3 ms on a machine that does nothing else";
}

} // namespace
} // namespace aerate::confine
