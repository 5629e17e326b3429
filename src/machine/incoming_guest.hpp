// A guest that arrives by migration: builds what it needs as it is told of it, on the thread that receives. The machine
// itself lives on the main loop, and is made and started there.
#pragma once

#include "boot/file.hpp"
#include "control/vm_config.hpp"
#include "machine/hardware.hpp"
#include "machine/host_files.hpp"
#include "migration/guest.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace aerate {

class IncomingGuest final : public migration::DestinationGuest {
public:
    /// Each is called on the receiving thread and returns when it has happened.
    struct Callbacks {
        /// Settles the VM as it will be here: another name, the files that it may have. An error refuses the guest.
        std::function<Result<ForeignConfig::Settled>(ForeignConfig)> settle;
        /// Makes the machine around this memory, which moves there: before the guest is stopped for it.
        std::function<Result<GuestMemory*>(const ForeignConfig::Settled&, GuestMemory)> assemble;
        /// Loads the guest, which is stopped. What could keep it from running fails here.
        std::function<Result<>(const state::SavedVm&)> load;
        std::function<Result<>()> run;
        std::function<void()> discard;
    };
    explicit IncomingGuest(Callbacks callbacks)
        : callbacks_(std::move(callbacks)) {}

    Result<GuestMemory*> prepare(const std::string& config, std::span<const MemoryRegion>) override;
    Result<> attach(migration::Attachment::Kind, ByteCount length, std::span<const std::byte> piece) override;
    Result<> load(std::span<const std::byte> state) override;
    Result<> run() override { return callbacks_.run(); }
    void discard() override { callbacks_.discard(); }

private:
    Callbacks callbacks_;
    std::shared_ptr<HostFiles> files_; ///< from prepare() on
    std::optional<IncomingBootFile> kernel_;
    std::optional<IncomingBootFile> initrd_;
};

} // namespace aerate
