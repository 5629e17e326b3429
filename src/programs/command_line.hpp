// How the command line explains itself: help of 80 columns, and one line for what was typed wrongly.
//
//     aerate: migrate: destination is missing; usage: aerate migrate [OPTIONS] name destination
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace aerate {

/// Exit status for a command line that cannot be meant.
inline constexpr int wrong_usage_status = 2;

class HelpFormatter final : public CLI::Formatter {
public:
    HelpFormatter();
    std::string make_help(const CLI::App*, std::string name, CLI::AppFormatMode) const override;
    std::string make_option_name(const CLI::Option*, bool positional) const override;
    std::string make_option_opts(const CLI::Option*) const override;
    std::string make_option_desc(const CLI::Option*) const override;
};

/// Returns what is wrong with a command line that `app` refused, where, and what to do.
std::string explain_usage(const CLI::App& app, const CLI::ParseError&);

} // namespace aerate
