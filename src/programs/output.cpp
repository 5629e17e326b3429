#include "programs/output.hpp"

#include "base/printable.hpp"

#include <unistd.h>

#include <sys/ioctl.h>

#include <cstdlib>
#include <string>

namespace aerate {

void print_text(std::string_view text) {
    fmt::print("{}", printable_lines(text));
}

void print_error(std::string_view message) {
    std::string text = printable_lines(message);
    for (auto at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1))
        text.insert(at + 1, "  ");
    fmt::print(stderr, "aerate: {}\n", text);
}

std::size_t output_columns(std::size_t otherwise) {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char* const variable = std::getenv("COLUMNS");
    const unsigned long columns = variable != nullptr ? std::strtoul(variable, nullptr, 10) : 0;
    return columns > 0 ? columns : otherwise;
}

void draw(std::FILE* where, std::string_view picture) {
    fmt::print(where, "{}", picture);
    std::fflush(where);
}

} // namespace aerate
