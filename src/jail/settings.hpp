// What a jail is told, as types that hold only what was checked: none can be made but by parse(), and none names a
// path that leads elsewhere.
#pragma once

#include "base/error.hpp"

#include <sys/resource.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::jail {

/// The name of a jail, by Firecracker's rule: 1 to 64 letters, digits and hyphens. The name of a directory as well.
class Id {
public:
    [[nodiscard]] static Result<Id> parse(std::string_view);
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    explicit Id(std::string_view text)
        : text_(text) {}
    std::string text_;
};

/// The last part of a program's path as it was given, links not resolved: what a link is called decides what aerate
/// does, and SDKs look for the jail below that name.
class ProgramName {
public:
    [[nodiscard]] static Result<ProgramName> of_path(std::string_view path);
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    explicit ProgramName(std::string_view text)
        : text_(text) {}
    std::string text_;
};

/// FILE=VALUE, as memory.max=1G: a file of a controller, in the jail's own cgroup.
class CgroupSetting {
public:
    [[nodiscard]] static Result<CgroupSetting> parse(std::string_view);
    [[nodiscard]] const std::string& file() const { return file_; }
    [[nodiscard]] const std::string& value() const { return value_; }
    /// Returns what stands before the first dot.
    [[nodiscard]] std::string_view controller() const;

private:
    CgroupSetting(std::string_view file, std::string_view value)
        : file_(file)
        , value_(value) {}
    std::string file_;
    std::string value_;
};

/// A path below the root of a cgroup hierarchy.
class CgroupPath {
public:
    [[nodiscard]] static Result<CgroupPath> parse(std::string_view);
    /// Returns the cgroup of a program whose jails have no other.
    [[nodiscard]] static CgroupPath of(const ProgramName& name) { return CgroupPath({name.text()}); }
    [[nodiscard]] const std::vector<std::string>& parts() const { return parts_; }
    [[nodiscard]] std::string text() const;

private:
    explicit CgroupPath(std::vector<std::string> parts)
        : parts_(std::move(parts)) {}
    std::vector<std::string> parts_;
};

enum class CgroupVersion : std::uint8_t { v1 = 1, v2 = 2 };
[[nodiscard]] Result<CgroupVersion> parse_cgroup_version(std::string_view);

/// no-file=N or fsize=N.
class ResourceLimit {
public:
    [[nodiscard]] static Result<ResourceLimit> parse(std::string_view);
    [[nodiscard]] __rlimit_resource resource() const { return resource_; }
    [[nodiscard]] std::string_view name() const { return resource_ == RLIMIT_NOFILE ? "no-file" : "fsize"; }
    [[nodiscard]] std::uint64_t value() const { return value_; }

private:
    ResourceLimit(__rlimit_resource resource, std::uint64_t value)
        : resource_(resource)
        , value_(value) {}
    __rlimit_resource resource_;
    std::uint64_t value_;
};

/// Parses a user's or group's number. 4294967295 is none: to system calls it says "leave as it is".
[[nodiscard]] Result<std::uint32_t> parse_owner(std::string_view);

} // namespace aerate::jail
