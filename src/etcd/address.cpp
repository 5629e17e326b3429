#include "etcd/address.hpp"

#include "control/runtime_directory.hpp"

#include <array>
#include <ranges>
#include <utility>

namespace aerate::etcd {
namespace {

constexpr std::string_view tcp = "tcp:";

Result<> set_option(Address& address, bool& plain, std::string_view option) {
    if (option == "plain") {
        plain = true;
        return {};
    }
    const std::array<std::pair<std::string_view, std::string*>, 4> files{{{"ca=", &address.ca_path},
                                                                          {"cert=", &address.certificate_path},
                                                                          {"key=", &address.key_path},
                                                                          {"login=", &address.login_path}}};
    for (const auto& [word, path] : files) {
        if (!option.starts_with(word))
            continue;
        if (!path->empty())
            return fail("{} is given twice", word);
        *path = option.substr(word.size());
        // The VM's monitor opens it, and may have another working directory than who typed it.
        if (!path->starts_with('/'))
            return fail("{} is not an absolute path", option);
        return {};
    }
    return fail("{} is not one of ca=FILE, cert=FILE, key=FILE, login=FILE and plain", option);
}

Result<Address> parse_after_prefix(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == text.npos)
        return fail("the lease's name is missing");
    if (slash == 0)
        return fail("a member is missing");
    Address address;
    for (const auto part : text.substr(0, slash) | std::views::split(',')) {
        if (address.members.size() == Address::max_members)
            return fail("there are more than {} members", Address::max_members);
        const std::string_view member(part.begin(), part.end());
        if (member.empty())
            return fail("a member is missing");
        address.members.push_back(TRY(migration::Endpoint::parse(std::string(tcp) + std::string(member))));
    }
    bool plain = false;
    bool named = false;
    for (const auto part : text.substr(slash + 1) | std::views::split(',')) {
        const std::string_view word(part.begin(), part.end());
        if (std::exchange(named, true))
            TRY(set_option(address, plain, word));
        else
            address.name = word;
    }
    if (!control::validate_vm_name(address.name))
        return fail("the lease's name must be 1 to 64 letters, digits, '_', '.' or '-'");
    if (address.certificate_path.empty() != address.key_path.empty())
        return fail("cert= and key= belong together");
    if (plain != address.ca_path.empty() || (plain && !address.certificate_path.empty()))
        return fail("a connection is either protected, by ca=FILE, or said to be plain: whoever can reach a plain one "
                    "decides who runs the VM");
    return address;
}

} // namespace

Result<Address> Address::parse(std::string_view text) {
    if (!is_one(text))
        return fail("a lease in etcd begins with {}", prefix);
    auto address = parse_after_prefix(text.substr(prefix.size()));
    if (!address)
        return fail_because(std::move(address).error(), "{}: etcd:HOST:PORT[,HOST:PORT...]/NAME[,OPTION...]", text);
    return address;
}

std::string host_and_port(const migration::Endpoint& member) {
    return member.text().substr(tcp.size());
}

} // namespace aerate::etcd
