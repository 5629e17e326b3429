#include "programs/helper_program.hpp"

#include <unistd.h>

#include <cerrno>

namespace aerate {

namespace fs = std::filesystem;

Result<fs::path> find_helper(const fs::path& from_build, const fs::path& installed, std::string_view otherwise) {
    std::error_code ignored;
    const fs::path directory = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    for (const fs::path& candidate : {directory / from_build, directory / "../libexec/aerate" / installed})
        if (::access(candidate.c_str(), X_OK) == 0)
            return fs::weakly_canonical(candidate, ignored);
    return fail("{} is not there, from {}: {}", from_build.string(), directory.string(), otherwise);
}

Error turn_into(std::vector<std::string> words) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(arguments.front(), arguments.data());
    const int code = errno;
    return {fmt::format("cannot run {}: {}", words.front(), describe_errno(code)), code};
}

} // namespace aerate
