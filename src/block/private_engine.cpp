// A disk in two files. A sector is the layer's when it has been written there, and before its guest is told: until then
// the guest may read what was there before, and when the write fails that is still its disk.
#include "base/check.hpp"
#include "block/private_layer.hpp"

#include <algorithm>
#include <vector>

namespace aerate {
namespace {

class PrivateEngine final : public IoEngine {
    using Kind = IoOperation::Kind;

public:
    PrivateEngine(std::unique_ptr<IoEngine> files, PrivateLayer& layer, unsigned depth)
        : files_(std::move(files))
        , layer_(layer)
        , slots_(depth) {
        free_all();
    }

    void submit(const IoOperation& wanted, std::uint64_t token) override {
        CHECK(!free_.empty());
        const std::size_t index = free_.back();
        free_.pop_back();
        Slot& slot = slots_[index];
        slot = {.token = token,
                .kind = wanted.kind,
                .offset = wanted.offset,
                .length = wanted.length,
                .buffers = std::move(slot.buffers)};
        IoOperation operation = wanted;
        if (wanted.kind == Kind::read)
            read_first_run(operation, slot);
        else if (wanted.kind != Kind::synchronise)
            layer_.about_to_write();
        files_->submit(operation, index);
    }

    bool flush() override { return files_->flush(); }

    std::optional<IoCompletion> take_completion() override {
        auto completion = files_->take_completion();
        if (!completion)
            return std::nullopt;
        const Slot& slot = slots_[completion->token];
        if (completion->result >= 0)
            done(slot, static_cast<std::uint64_t>(completion->result));
        free_.push_back(completion->token);
        completion->token = slot.token;
        return completion;
    }

    int completion_fd() const override { return files_->completion_fd(); }
    void acknowledge() override { files_->acknowledge(); }

    /// A write that is abandoned leaves its sectors as they were, whatever of it is in the layer.
    void abandon() override {
        files_->abandon();
        free_all();
    }

private:
    struct Slot {
        std::uint64_t token = 0;
        Kind kind{};
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::vector<iovec> buffers{}; ///< of a read
    };

    void free_all() {
        free_.clear();
        for (std::size_t index = slots_.size(); index > 0; --index)
            free_.push_back(index - 1);
    }

    void read_first_run(IoOperation& read, Slot& slot) {
        std::uint64_t length = 0;
        for (const iovec& buffer : read.buffers)
            length += buffer.iov_len;
        const SectorMap::Run run = layer_.first_run(read.offset, length);
        slot.buffers.clear();
        for (std::uint64_t left = run.length; iovec buffer : read.buffers) {
            buffer.iov_len = std::min<std::uint64_t>(buffer.iov_len, left);
            left -= buffer.iov_len;
            slot.buffers.push_back(buffer);
            if (left == 0)
                break;
        }
        read.buffers = slot.buffers;
        if (!run.in_layer)
            read.other_file = layer_.image();
    }

    void done(const Slot& slot, std::uint64_t result) {
        switch (slot.kind) {
        case Kind::write:
        case Kind::write_through:
            return layer_.wrote(slot.offset, result);
        case Kind::allocate: // what it frees or clears in the layer hides the image from now on
            return layer_.wrote(slot.offset, slot.length);
        case Kind::read:
        case Kind::synchronise:
            return;
        }
    }

    std::unique_ptr<IoEngine> files_;
    PrivateLayer& layer_;
    std::vector<Slot> slots_;
    std::vector<std::size_t> free_;
};

} // namespace

std::unique_ptr<IoEngine> make_private_engine(std::unique_ptr<IoEngine> files, PrivateLayer& layer, unsigned depth) {
    return std::make_unique<PrivateEngine>(std::move(files), layer, depth);
}

} // namespace aerate
