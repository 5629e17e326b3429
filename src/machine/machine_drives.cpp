// What is asked of the drives of a guest that runs.
#include "base/absolute_path.hpp"
#include "machine/machine.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

/// Opens and locks the new image first: one that cannot be used changes nothing. Then the guest is held for a moment,
/// so that nothing of the old one is under way.
void Machine::change_drive(const control::DriveUpdate& update, control::Server::Answer answer) {
    if (!update.path_on_host)
        return change_limits(update, std::move(answer));
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    control::Drive drive = *std::ranges::find(config_.drives, update.drive_id, &control::Drive::drive_id);
    auto image = [&]() -> Result<std::shared_ptr<const DiskImage>> {
        drive.path_on_host = TRY(absolute_path(*update.path_on_host));
        return options_.files->open_other(drive, config_.name);
    }();
    if (!image)
        return answer(control::Failure{400, std::move(image).error().message});
    changes_drive_ = true;
    freezer_.claim(Freezer::Claimant::copy, [this, update, drive = std::move(drive), image = *std::move(image),
                                             answer = std::move(answer)](Result<> held) mutable {
        changes_drive_ = false;
        if (held)
            held = change_drive_at_rest(std::move(drive), std::move(image));
        freezer_.release(Freezer::Claimant::copy);
        if (held)
            change_limits(update, std::move(answer));
        else
            answer(control::Failure{400, std::move(held).error().message});
    });
}

Result<> Machine::change_drive_at_rest(control::Drive drive, std::shared_ptr<const DiskImage> image) {
    TRY(hardware_->change_disk(drive, image));
    options_.files->replace_disk(drive.drive_id, std::move(image));
    *std::ranges::find(config_.drives, drive.drive_id, &control::Drive::drive_id) = std::move(drive);
    return {};
}

} // namespace aerate
