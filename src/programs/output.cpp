#include "programs/output.hpp"

#include "base/error.hpp"
#include "base/printable.hpp"

#include <unistd.h>

#include <sys/ioctl.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace aerate {

namespace {

/// Why standard output takes no more, as errno has it; 0: it does, or nobody has asked.
int refusal = 0;

void note_refusal() {
    if (refusal == 0)
        refusal = errno != 0 ? errno : EIO;
}

/// Unlike fmt::print() it throws nothing: end_output() tells what has become of it.
void write(std::FILE* where, std::string_view text) {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), where) != text.size() && where == stdout)
        note_refusal();
}

} // namespace

void print_text(std::string_view text) {
    write(stdout, printable_lines(text));
}

bool flush_output() {
    errno = 0;
    if (std::fflush(stdout) != 0)
        note_refusal();
    return refusal == 0;
}

int end_output(int status) {
    if (flush_output())
        return status;
    print_error(fmt::format("cannot write to standard output: {}", describe_errno(refusal)));
    return status == 0 ? 1 : status;
}

void print_error(std::string_view message) {
    std::string text = printable_lines(message);
    for (auto at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1))
        text.insert(at + 1, "  ");
    write(stderr, fmt::format("aerate: {}\n", text));
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
    write(where, picture);
    if (where == stdout)
        (void)flush_output(); // a terminal that is gone
    else
        std::fflush(where);
}

} // namespace aerate
