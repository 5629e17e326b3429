// A drive gets another image while its guest runs.
#include "base/check.hpp"
#include "block/block.hpp"

#include <utility>

namespace aerate {

Result<> Block::change_image(std::shared_ptr<const DiskImage> image, IoEngineKind kind) {
    CHECK(idle());
    if (image->read_only() != image_->read_only() || image->block_size() != image_->block_size())
        return fail("the guest's driver has agreed to a disk of another kind");
    auto engine = TRY(image->make_engine(kind, queue_size));
    auto completions = TRY(loop_.try_watch(engine->completion_fd(), [this] { serve_completions(); }));
    engine_->abandon();
    completions_ = std::move(completions);
    engine_ = std::move(engine);
    image_ = std::move(image);
    limits_.capacity = image_->size().value / sector_size;
    config_changed();
    return {};
}

} // namespace aerate
