#include "jail/launcher.hpp"

#include "base/host.hpp"
#include "base/regular_file.hpp"
#include "confine/privileges.hpp"
#include "jail/cgroups.hpp"
#include "jail/inheritance.hpp"
#include "jail/namespaces.hpp"
#include "jail/place.hpp"
#include "jail/start.hpp"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace aerate::jail {
namespace {

constexpr rlim_t usual_descriptors = 2048; // Firecracker's

std::uint64_t microseconds(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

Result<> set_limit(__rlimit_resource resource, std::string_view name, rlim_t value) {
    const rlimit limit{.rlim_cur = value, .rlim_max = value};
    return ::setrlimit(resource, &limit) == 0 ? Result<>() : fail_errno("{}={}", name, value);
}

class Launcher {
public:
    explicit Launcher(const Request& request)
        : request_(request)
        , caller_(::geteuid() == 0 ? Caller::root : Caller::user)
        , began_us_(microseconds(CLOCK_MONOTONIC))
        , began_cpu_us_(microseconds(CLOCK_PROCESS_CPUTIME_ID)) {}

    Result<pid_t> launch(const BeforeStep& before) {
        for (const Step step : plan(request_, caller_)) {
            if (before)
                before(step);
            auto taken = take(step);
            if (!taken)
                taken = fail_because(std::move(taken).error(), "cannot {}", describe(step));
            if (!taken && started_)
                started_->give_up(taken.error()); // in the jail's process; whoever waits for it says why
            TRY(std::move(taken));
            if (step == Step::start_process && started_->is_parent())
                return started_->wait();
        }
        return fail("the program did not run");
    }

private:
    Result<> take(Step);
    Result<> close_descriptors();
    Result<> open_program();
    Result<> each_cgroup(Result<> (*act)(const Cgroup&));
    Result<> set_limits();
    Result<> start_process();
    Result<> leave_session() const;
    Result<> drop_privileges();
    Result<> execute();

    const Request& request_;
    Caller caller_;
    std::uint64_t began_us_;
    std::uint64_t began_cpu_us_;
    std::uint64_t launcher_cpu_us_ = 0;
    mode_t umask_ = 0;                      ///< that of the program, too
    void (*file_too_large_)(int) = SIG_DFL; ///< as the program is to have it
    FileDescriptor nothing_;                ///< /dev/null
    FileDescriptor program_;
    bool is_aerate_ = false; ///< it has to be told which of its commands it is
    std::vector<Cgroup> cgroups_;
    std::optional<Place> place_;
    FileDescriptor mount_;
    std::optional<Start> started_;
};

Result<> Launcher::take(Step step) {
    switch (step) {
    case Step::close_descriptors:
        return close_descriptors();
    case Step::open_program:
        return open_program();
    case Step::open_directories:
        place_ = TRY(Place::open(request_, Missing::make));
        return {};
    case Step::clear_leftovers:
        return place_->clear();
    case Step::copy_program:
        return place_->copy_program(program_.get());
    case Step::make_cgroup:
        cgroups_ = TRY(cgroups_of(request_, TRY(Hierarchies::of_this_host())));
        return each_cgroup(make);
    case Step::join_cgroup:
        return each_cgroup(join);
    case Step::join_network:
        return join_network(request_.netns);
    case Step::unshare_user:
        return unshare_user();
    case Step::unshare_others:
        place_->use_root(TRY(unshare_others(request_.network, place_->root())));
        return {};
    case Step::bind_root:
        mount_ = TRY(bind_over_itself(place_->root(), caller_ == Caller::root));
        place_->use_root(
            host::descriptor([&] { return ::openat(mount_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
        return place_->root() >= 0 ? Result<>() : fail_errno("cannot open it");
    case Step::make_devices:
        return place_->make_devices(caller_ == Caller::user);
    case Step::enter_root:
        return enter_root(mount_.get());
    case Step::set_limits:
        return set_limits();
    case Step::give_away:
        TRY(place_->give_away());
        return request_.forks() ? Result<>() : place_->write_pid(::getpid());
    case Step::start_process:
        return start_process();
    case Step::leave_session:
        return leave_session();
    case Step::drop_privileges:
        return drop_privileges();
    case Step::execute:
        return execute();
    }
    return {};
}

Result<> Launcher::close_descriptors() {
    TRY(confine::close_all_but({}));
    TRY(check_standard_streams());
    umask_ = ::umask(022);                           // what is made here has the modes that are asked for
    file_too_large_ = std::signal(SIGXFSZ, SIG_IGN); // an error of the copy says more
    if (!request_.daemonize)
        return {};
    nothing_ = host::descriptor([] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); });
    return nothing_.valid() ? Result<>() : fail_errno("cannot open /dev/null");
}

Result<> Launcher::open_program() {
    if (request_.program.empty()) {
        is_aerate_ = true;
        program_ = host::descriptor([] { return ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC); });
        return program_.valid() ? Result<>() : fail_errno("cannot open this program, by /proc/self/exe");
    }
    RegularFile file = TRY(open_regular(request_.program, Link::follow));
    if ((file.mode & S_IXUSR) == 0)
        return fail("{} is not executable", request_.program);
    if (auto checked = check_only_we_write(file, request_.program); !checked)
        return fail_because(std::move(checked).error(), "{}", request_.program);
    struct stat own{};
    struct stat status{};
    is_aerate_ = request_.name.text() != "firecracker" && ::stat("/proc/self/exe", &own) == 0 &&
                 ::fstat(file.fd.get(), &status) == 0 && own.st_dev == status.st_dev && own.st_ino == status.st_ino;
    program_ = std::move(file.fd);
    return {};
}

Result<> Launcher::each_cgroup(Result<> (*act)(const Cgroup&)) {
    for (const Cgroup& cgroup : cgroups_)
        TRY(act(cgroup));
    return {};
}

Result<> Launcher::set_limits() {
    rlimit now{};
    if (::getrlimit(RLIMIT_NOFILE, &now) != 0)
        return fail_errno("cannot read the limit on descriptors");
    if (std::ranges::none_of(request_.limits, [](const auto& l) { return l.resource() == RLIMIT_NOFILE; }))
        TRY(set_limit(RLIMIT_NOFILE, "no-file", std::min(now.rlim_max, usual_descriptors)));
    for (const ResourceLimit& limit : request_.limits)
        TRY(set_limit(limit.resource(), limit.name(), limit.value()));
    return {};
}

Result<> Launcher::start_process() {
    launcher_cpu_us_ = microseconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu_us_;
    started_ = TRY(Start::fork(request_.new_pid_namespace));
    if (started_->is_parent()) {
        TRY(place_->write_pid(started_->pid()));
        return started_->let_go();
    }
    began_cpu_us_ = 0; // a process of its own
    return started_->wait_for_parent();
}

Result<> Launcher::leave_session() const {
    if (::setsid() < 0)
        return fail_errno("cannot have one of its own");
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::dup2(nothing_.get(), fd) != fd)
            return fail_errno("cannot replace file descriptor {}", fd);
    return {};
}

Result<> Launcher::drop_privileges() {
    TRY(confine::give_up_bounding_set()); // while we may
    if (caller_ == Caller::root) {
        if (::setgroups(0, nullptr) != 0)
            return fail_errno("cannot leave root's groups");
        if (::setresgid(request_.group, request_.group, request_.group) != 0)
            return fail_errno("cannot become the group {}", request_.group);
        if (::setresuid(request_.user, request_.user, request_.user) != 0)
            return fail_errno("cannot become the user {}", request_.user);
    }
    if (started_)
        TRY(started_->stay_with_parent());
    TRY(leave_keyring());
    TRY(confine::keep_capabilities({}));
    TRY(confine::give_up_new_privileges());
    if (confine::has_capabilities())
        return fail("capabilities are left");
    return leave_terminal_alone();
}

Result<> Launcher::execute() {
    std::vector<std::string> words{"/" + request_.name.text()};
    if (is_aerate_)
        words.emplace_back("firecracker");
    const auto number = [](std::uint64_t value) { return fmt::format("{}", value); };
    words.insert(words.end(), {"--id", request_.id.text(), "--start-time-us", number(began_us_), "--start-time-cpu-us",
                               number(began_cpu_us_), "--parent-cpu-time-us", number(launcher_cpu_us_)});
    words.insert(words.end(), request_.arguments.begin(), request_.arguments.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    char* environment[] = {nullptr};
    ::umask(umask_);
    (void)std::signal(SIGXFSZ, file_too_large_);
    if (started_)
        started_->about_to_execute();
    ::execve(words.front().c_str(), arguments.data(), environment);
    return fail_errno("{} in the jail; a program that is not linked statically needs its libraries in there",
                      words.front());
}

} // namespace

Result<pid_t> launch(const Request& request, const BeforeStep& before) {
    return Launcher(request).launch(before);
}

Result<std::optional<std::string>> remove(const Request& request) {
    auto place = Place::open(request, Missing::refuse);
    if (!place && place.error().system_error != ENOENT)
        return std::unexpected(std::move(place).error());
    for (const Cgroup& cgroup : possible_cgroups(request, TRY(Hierarchies::of_this_host())))
        TRY(remove(cgroup));
    if (!place || TRY(place->remove()))
        return std::nullopt;
    return place->path();
}

} // namespace aerate::jail
