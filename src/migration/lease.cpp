#include "migration/lease.hpp"

#include "base/endian.hpp"
#include "base/host.hpp"
#include "base/regular_file.hpp"
#include "base/sync_directory.hpp"
#include "migration/wire/frame.hpp"

#include <fcntl.h>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <thread>

namespace aerate::migration {
namespace {

constexpr std::string_view magic = "aerlease";
constexpr std::size_t id_at = 8;
constexpr std::size_t epoch_at = 24;
constexpr std::size_t claimant_at = 32;
constexpr std::size_t owner_at = 48;
constexpr std::size_t sum_at = 56;
constexpr std::size_t record_size = 64;

/// Held by this open file alone, so that two of one process exclude each other too.
class Lock {
public:
    [[nodiscard]] static Result<Lock> take(int fd, const std::string& path) {
        // A holder keeps it for one read and one write, and one that died has lost it. So this is for a stranger who
        // keeps it: better an error than to wait for ever, as F_OFD_SETLKW would.
        constexpr auto patience = std::chrono::seconds(2);
        const auto until = std::chrono::steady_clock::now() + patience;
        struct flock request{};
        request.l_type = F_WRLCK;
        request.l_whence = SEEK_SET;
        while (::fcntl(fd, F_OFD_SETLK, &request) != 0) {
            if (errno != EAGAIN && errno != EACCES && errno != EINTR)
                return fail_errno("cannot lock the lease {}", path);
            if (std::chrono::steady_clock::now() >= until)
                return fail("the lease {} is locked by another process", path);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return Lock(fd);
    }
    Lock(Lock&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
        if (fd_ < 0)
            return;
        struct flock request{};
        request.l_type = F_UNLCK;
        request.l_whence = SEEK_SET;
        (void)::fcntl(fd_, F_OFD_SETLK, &request);
    }

private:
    explicit Lock(int fd)
        : fd_(fd) {}
    int fd_;
};

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

} // namespace

struct FileLease::Record {
    Terms terms;
    Session last; ///< the session that claimed last, and its side
    Side owner{};
};

Result<FileLease> FileLease::open(const std::string& path) {
    constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    FileDescriptor file = host::descriptor([&] { return ::open(path.c_str(), flags, 0600); });
    if (!file.valid())
        return fail_errno("cannot open the lease {}", path);
    auto regular = regular_file(std::move(file));
    // A user who can write it decides which side runs the guest, or that both do; one who can read it can lock it.
    const auto ours = regular ? check_secrecy(path, regular->owner, regular->mode) : std::unexpected(regular.error());
    if (!ours)
        return fail_because(ours.error(), "cannot use the lease {}", path);
    FileLease lease(path, std::move(regular->fd));
    const Lock lock = TRY(Lock::take(lease.file_.get(), path));
    struct stat status{};
    if (::fstat(lease.file_.get(), &status) != 0)
        return fail_errno("cannot inspect the lease {}", path);
    if (status.st_size == 0) {
        TRY(lease.write({{Session::random().value, 0}, {}, {}}));
        TRY(sync_directory(directory_of(path)));
    }
    TRY(lease.read());
    return lease;
}

Result<FileLease::Record> FileLease::read() const {
    std::array<std::byte, record_size> bytes{};
    if (auto filled = read_at(file_.get(), bytes, {0}); !filled)
        return fail_because(std::move(filled).error(), "cannot read the lease {}", path_);
    const std::span<const std::byte> view(bytes);
    const bool known = std::ranges::equal(view.first(magic.size()), std::as_bytes(std::span(magic)));
    if (!known || load_little_endian<std::uint64_t>(view.subspan(sum_at)) != checksum(view.first(sum_at)))
        return fail("{} is not a lease of aerate, or is damaged", path_);
    Record record;
    std::ranges::copy(view.subspan(id_at, record.terms.id.size()), record.terms.id.begin());
    record.terms.epoch = load_little_endian<std::uint64_t>(view.subspan(epoch_at));
    std::ranges::copy(view.subspan(claimant_at, record.last.value.size()), record.last.value.begin());
    record.owner = static_cast<Side>(bytes[owner_at]);
    return record;
}

Result<> FileLease::write(const Record& record) const {
    std::array<std::byte, record_size> bytes{};
    const std::span<std::byte> view(bytes);
    std::ranges::copy(std::as_bytes(std::span(magic)), view.begin());
    std::ranges::copy(record.terms.id, view.subspan(id_at).begin());
    store_little_endian(view.subspan(epoch_at), record.terms.epoch);
    std::ranges::copy(record.last.value, view.subspan(claimant_at).begin());
    bytes[owner_at] = static_cast<std::byte>(record.owner);
    store_little_endian(view.subspan(sum_at), checksum(view.first(sum_at)));
    // Within one sector: whole or not at all.
    if (auto written = write_at(file_.get(), bytes, {0}); !written)
        return fail_because(std::move(written).error(), "cannot write the lease {}", path_);
    if (::fsync(file_.get()) != 0)
        return fail_errno("cannot write the lease {}", path_);
    return {};
}

Result<Lease::Terms> FileLease::terms() {
    const std::lock_guard alone(*threads_);
    const Lock lock = TRY(Lock::take(file_.get(), path_));
    return TRY(read()).terms;
}

Result<bool> FileLease::claim(const Terms& terms, const Session& session, Side side) {
    const std::lock_guard alone(*threads_);
    const Lock lock = TRY(Lock::take(file_.get(), path_));
    const Record now = TRY(read());
    if (now.terms.id != terms.id)
        return fail("the lease {} was replaced by another", path_);
    if (now.terms.epoch == terms.epoch) {
        TRY(write({{terms.id, terms.epoch + 1}, session, side}));
        return true;
    }
    const bool ours = now.terms.epoch == terms.epoch + 1 && now.last == session && now.owner == side;
    if (ours)
        TRY(write(now)); // the write that made it ours may have failed half-way
    return ours;
}

} // namespace aerate::migration
