#include "programs/protection_flags.hpp"

#include <CLI/CLI.hpp>

namespace aerate {

void add_protection_flags(CLI::App& command, migration::Protection& into) {
    const auto file = [&](const char* name, std::string& path, const char* help) {
        return command.add_option(name, path, help)->type_name("FILE")->group("Protection of the connection (TLS 1.3)");
    };
    CLI::Option* const psk = file("--psk", into.psk_path, "32 secret bytes, the same on both sides");
    CLI::Option* const certificate = file("--tls-cert", into.certificate_path, "this side's certificate (PEM)");
    CLI::Option* const key = file("--tls-key", into.key_path, "the certificate's key");
    CLI::Option* const authority =
        file("--tls-ca", into.ca_path, "the authority that has signed the other side's certificate");
    certificate->needs(key)->needs(authority)->excludes(psk);
    key->needs(certificate);
    authority->needs(certificate);
    command
        .add_flag(
            "--plain", into.plain,
            "no protection: whoever can reach the address, other users of this machine included, is believed, and "
            "can read and change the guest's memory. A unix socket needs neither this nor a key")
        ->group("Protection of the connection (TLS 1.3)")
        ->excludes(psk)
        ->excludes(certificate);
}

} // namespace aerate
