// A file of a test's own, gone when the test is over.
#pragma once

#include "base/check.hpp"
#include "base/fd.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace aerate {

class TemporaryFile {
public:
    explicit TemporaryFile(std::uint64_t size) {
        path_ = (std::filesystem::temp_directory_path() / "aerate-test-XXXXXX").string();
        fd_ = FileDescriptor(::mkstemp(path_.data()));
        CHECK(fd_.valid());
        CHECK(::ftruncate(fd_.get(), static_cast<off_t>(size)) == 0);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { ::unlink(path_.c_str()); }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::vector<std::byte> contents(std::size_t size) const {
        std::vector<std::byte> bytes(size);
        CHECK(::pread(fd_.get(), bytes.data(), size, 0) == static_cast<ssize_t>(size));
        return bytes;
    }

private:
    std::string path_;
    FileDescriptor fd_;
};

} // namespace aerate
