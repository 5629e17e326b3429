// Flags whose values are more than text: they go straight into the request that is sent.
#pragma once

#include "base/units.hpp"

#include <string>

namespace CLI {
class App;
class Option;
} // namespace CLI

namespace aerate {

/// Adds the name of a VM that runs, the command's first argument.
CLI::Option* add_vm_name(CLI::App&, std::string& into);
/// Adds a size: "512M". `into` must live until the command line is parsed.
CLI::Option* add_size(CLI::App&, const std::string& name, ByteCount& into, const std::string& help);
/// Adds a path, made absolute here, where it was typed: the monitor may have another working directory.
CLI::Option* add_path(CLI::App&, const std::string& name, std::string& into, const std::string& help);
/// Adds --lease: a path, made absolute likewise, or a lease in etcd.
CLI::Option* add_lease(CLI::App&, std::string& into, const std::string& help);

} // namespace aerate
