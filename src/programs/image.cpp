#include "control/size.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/helper_program.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <vector>

namespace aerate {
namespace {

struct Options {
    std::string suite = "bookworm";
    ByteCount size{2ULL << 30};
    std::string ssh_key;
    std::vector<std::string> include;
    std::string mirror;
    std::string image;
};

/// What the root disk of a Debian with a kernel and ssh does not fit into in any case.
constexpr ByteCount size_min{512ULL << 20};

/// Returns what is wrong with what Debian names by lower-case letters, digits and a few signs: packages, suites.
std::string check_word(const std::string& word) {
    const bool right = !word.empty() &&
                       word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789+-.") == word.npos &&
                       word.front() != '-' && word.front() != '.' && word.front() != '+';
    return right ? "" : word + " is not the name of a package or suite of Debian";
}

std::string check_mirror(const std::string& mirror) {
    const bool right = mirror.starts_with("http://") || mirror.starts_with("https://") ||
                       mirror.starts_with("file:/") || mirror.starts_with("/");
    return right && mirror.find_first_of(" \t\n") == mirror.npos
               ? ""
               : mirror + " is not a mirror: give http://..., https://..., file:/... or the path of a sources.list";
}

Error make(const Options& options) {
    constexpr std::string_view otherwise = "run from a checkout that is built, or install";
    auto program = find_helper("../../contrib/image/debian-image", "image/debian-image", otherwise);
    if (!program)
        return std::move(program).error();
    const auto renew = find_helper("aerate-renew", "guest/aerate-renew", otherwise);
    if (!renew)
        return renew.error();
    std::vector<std::string> words{program->string(),
                                   "--renew",
                                   renew->string(),
                                   "--suite",
                                   options.suite,
                                   "--size",
                                   std::to_string(options.size.value)};
    const auto add = [&words](const char* flag, const std::string& value) {
        if (!value.empty())
            words.insert(words.end(), {flag, value});
    };
    add("--ssh-key", options.ssh_key);
    std::string packages;
    for (const std::string& package : options.include)
        packages += (packages.empty() ? "" : ",") + package;
    add("--include", packages);
    add("--mirror", options.mirror);
    words.push_back(options.image);
    return turn_into(std::move(words));
}

} // namespace

void add_image(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("image", "Make a bootable Debian root disk, for a guest to log into");
    command.footer("Beside NAME.img are its kernel and initrd, NAME.vmlinuz and NAME.initrd.\n"
                   "It needs Debian's mmdebstrap, and neither root nor a mount. Without --ssh-key\n"
                   "the key is ~/.config/aerate/id_ed25519, made if need be: aerate ssh uses it.");
    auto options = std::make_shared<Options>();
    add_path(command, "image", options->image, "the file to make, NAME.img")->required();
    command.add_option("--suite", options->suite, "release of Debian")
        ->capture_default_str()
        ->type_name("SUITE")
        ->check(check_word);
    add_size(command, "--size", options->size, "of the disk, of which what is empty takes no space (default: 2G)")
        ->check([](const std::string& text) {
            const auto size = control::parse_size(text);
            return size && *size < size_min ? text + " is too small for a Debian: give 512M or more" : "";
        });
    add_path(command, "--ssh-key", options->ssh_key, "public key of who may log in as root");
    command.add_option("--include", options->include, "more packages")
        ->delimiter(',')
        ->type_name("PACKAGE,...")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->check(check_word);
    command
        .add_option("--mirror", options->mirror, "where packages come from (default: as for this host, else Debian's)")
        ->type_name("MIRROR")
        ->check(check_mirror);
    command.callback([options, &chosen] { chosen = [options] { return report(make(*options)); }; });
}

} // namespace aerate
