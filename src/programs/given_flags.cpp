#include "programs/given_flags.hpp"

#include "etcd/lease.hpp"
#include "migration/given.hpp"
#include "programs/flags.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {

void add_given_flags(CLI::App& command, GivenFlags& flags) {
    constexpr auto group = "After a move";
    add_path(command, "--record", flags.record,
             "the directory of migrate --record: do not start what was given away and may run elsewhere")
        ->type_name("DIR")
        ->group(group);
    add_lease(command, flags.lease, "the lease of that move, which says who has the VM")->group(group);
}

Result<> check_usage(const GivenFlags& flags, const std::string& name) {
    if (flags.record.empty() && !flags.lease.empty())
        return fail("--lease says who has a VM that was given away: it needs the --record of that");
    if (!flags.record.empty() && name.empty())
        return fail("--record is looked through for the VM's name: it needs --name");
    return {};
}

Result<> check_not_given(const GivenFlags& flags, const std::string& name) {
    if (flags.record.empty())
        return {};
    std::unique_ptr<migration::Lease> lease;
    if (!flags.lease.empty())
        lease = TRY(etcd::open_lease(flags.lease));
    return migration::check_not_given(flags.record, name, lease.get());
}

} // namespace aerate
