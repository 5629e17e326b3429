// Who may run the guest when the two sides can no longer ask each other. The first claim of a session wins, for ever.
//
//     auto lease = TRY(FileLease::open("/shared/vm1.lease"));     // both sides, the same file
//     SourceOptions options{.lease = &lease};
//
// The lease counts claims. A session begins by reading the count, and its claim succeeds only while the count is still
// that: so one that slept through later migrations can win nothing.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "migration/wire/session.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace aerate::migration {

enum class Side : std::uint8_t { source = 1, destination = 2 };

class Lease {
public:
    virtual ~Lease() = default;

    /// What both sides compare in the handshake: the lease's own number, to see that they have the same, and its epoch.
    struct Terms {
        std::array<std::byte, 16> id{};
        std::uint64_t epoch = 0;
        bool operator==(const Terms&) const = default;
    };
    /// Any thread, as claim() is.
    virtual Result<Terms> terms() = 0;
    /// Returns true when this side has it now, also by an earlier claim of the same session. An error means that it
    /// is unknown.
    virtual Result<bool> claim(const Terms&, const Session&, Side) = 0;
};

/// A small file on storage that both sides see, with working locks (local, NFSv4). Compared and swapped under an OFD
/// lock, written with fsync.
class FileLease final : public Lease {
public:
    /// Makes the file if it is not there.
    [[nodiscard]] static Result<FileLease> open(const std::string& path);

    Result<Terms> terms() override;
    Result<bool> claim(const Terms&, const Session&, Side) override;

private:
    struct Record;
    FileLease(std::string path, FileDescriptor file)
        : path_(std::move(path))
        , file_(std::move(file)) {}
    [[nodiscard]] Result<Record> read() const;
    [[nodiscard]] Result<> write(const Record&) const;

    std::string path_;
    FileDescriptor file_;
    std::unique_ptr<std::mutex> threads_ = std::make_unique<std::mutex>(); ///< they would share the file's lock
};

} // namespace aerate::migration
