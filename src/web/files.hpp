// The page's own files, which the build puts into the program: page/.
#pragma once

#include <string_view>

namespace aerate::web {

struct StaticFile {
    std::string_view path; ///< as it is asked for
    std::string_view content_type;
    std::string_view content;
};
/// Returns null if none has that path.
[[nodiscard]] const StaticFile* find_file(std::string_view path);

} // namespace aerate::web
