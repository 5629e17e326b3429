// What a shell offers for a command line that is being typed. The scripts of contrib/completion ask this, so there is
// one description of the command line: the parser's.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace aerate {

/// What may stand where the cursor is.
struct Completions {
    struct Candidate {
        std::string word;
        std::string description; ///< one line
    };
    std::vector<Candidate> words;
    enum class Paths { none, files, directories } paths = Paths::none;
    bool vms = false; ///< names of running VMs, too
};

/// `words` are those after the program's own name; the last is the one that is being typed, and may be empty.
[[nodiscard]] Completions complete(const CLI::App& app, std::vector<std::string> words);

/// Prints a line for each: the word, two spaces and what it is. A line ":files" or ":directories" asks the shell for
/// those.
int print_completions(const CLI::App& app, std::vector<std::string> words);

} // namespace aerate
