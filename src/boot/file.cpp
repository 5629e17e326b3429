#include "boot/file.hpp"

namespace aerate {

Result<RegularFile> open_file(const std::string& path, const char* what) {
    auto file = open_regular(path, Link::follow);
    if (!file)
        return fail_because(std::move(file).error(), "cannot use the {} {}", what, path);
    return file;
}

Result<> read_file(const RegularFile& file, std::span<std::byte> into, const std::string& path, const char* what) {
    auto read = read_at(file.fd.get(), into, {0});
    if (!read)
        return fail_because(std::move(read).error(), "cannot use the {} {}", what, path);
    return {};
}

} // namespace aerate
