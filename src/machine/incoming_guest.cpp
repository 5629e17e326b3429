#include "machine/incoming_guest.hpp"

#include "machine/restore.hpp"

namespace aerate {

Result<GuestMemory*> IncomingGuest::prepare(const std::string& config, std::span<const MemoryRegion> regions) {
    const auto here = TRY(callbacks_.settle(TRY(ForeignConfig::parse(config))));
    files_ = here.files;
    return callbacks_.assemble(here, TRY(GuestMemory::create(TRY(layout_of(here.config, regions)))));
}

Result<> IncomingGuest::attach(migration::Attachment::Kind kind, ByteCount, std::span<const std::byte> piece) {
    const bool is_kernel = kind == migration::Attachment::Kind::kernel;
    auto& incoming = is_kernel ? kernel_ : initrd_;
    if (!incoming)
        incoming = TRY(IncomingBootFile::create(is_kernel ? "kernel image" : "initrd"));
    return incoming->append(piece);
}

Result<> IncomingGuest::load(std::span<const std::byte> state) {
    BootFiles came;
    if (kernel_)
        came.kernel = std::move(*kernel_).finish("that came with the guest");
    if (initrd_)
        came.initrd = std::move(*initrd_).finish("that came with the guest");
    files_->bring(std::move(came));
    return callbacks_.load(TRY(state::decode(state)));
}

} // namespace aerate
