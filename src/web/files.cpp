#include "web/files.hpp"

#include <web/embedded_page.hpp> // made by cmake/EmbedFiles.cmake

#include <algorithm>
#include <array>

namespace aerate::web {
namespace {

constexpr std::string_view script = "text/javascript; charset=utf-8";
constexpr std::array<StaticFile, 10> files{{
    {"/", "text/html; charset=utf-8", embedded::index_html},
    {"/page.css", "text/css; charset=utf-8", embedded::page_css},
    {"/icon.svg", "image/svg+xml", embedded::icon_svg},
    {"/page.js", script, embedded::page_js},
    {"/connection.js", script, embedded::connection_js},
    {"/details.js", script, embedded::details_js},
    {"/draw.js", script, embedded::draw_js},
    {"/history.js", script, embedded::history_js},
    {"/table.js", script, embedded::table_js},
    {"/words.js", script, embedded::words_js},
}};

} // namespace

const StaticFile* find_file(std::string_view path) {
    const auto* const found = std::ranges::find(files, path, &StaticFile::path);
    return found == files.end() ? nullptr : found;
}

} // namespace aerate::web
