// What is asked of the drives of a guest that runs.
#include "base/absolute_path.hpp"
#include "machine/machine.hpp"
#include "machine/threads.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

/// Opens and locks the new image first: one that cannot be used changes nothing. That may take as long as its disk
/// likes, and a clone of it (FICLONE) as long as it has extents, so the loop does not wait for it. Then the guest is
/// held for a moment, so that nothing of the old one is under way.
void Machine::change_drive(const control::DriveUpdate& update, control::Server::Answer answer) {
    if (!update.path_on_host)
        return change_limits(update, std::move(answer));
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    control::Drive drive = *std::ranges::find(config_.drives, update.drive_id, &control::Drive::drive_id);
    auto absolute = absolute_path(*update.path_on_host);
    if (!absolute)
        return answer(control::Failure{400, std::move(absolute).error().message});
    drive.path_on_host = *std::move(absolute);
    auto opening = BackgroundTask<Result<Image>>::start(
        loop_, disk_thread,
        [drive, present = options_.files->disk(drive.drive_id), vm = config_.name] {
            return HostFiles::open_other(*present, drive, vm);
        },
        [this, update, path = drive.path_on_host](Result<Image> image) {
            opening_image_.reset();
            auto waiting = std::move(*std::exchange(waiting_for_image_, std::nullopt));
            if (image)
                return change_image(update, path, *std::move(image), std::move(waiting));
            changes_drive_ = false;
            waiting(control::Failure{400, std::move(image).error().message});
        });
    if (!opening)
        return answer(control::Failure{500, std::move(opening).error().message});
    changes_drive_ = true;
    opening_image_ = *std::move(opening);
    waiting_for_image_ = std::move(answer);
}

void Machine::change_image(const control::DriveUpdate& update, std::string path, Image image,
                           control::Server::Answer answer) {
    freezer_.claim(Freezer::Claimant::copy, [this, update, path = std::move(path), image = std::move(image),
                                             answer = std::move(answer)](Result<> held) mutable {
        changes_drive_ = false;
        if (held)
            held = change_image_at_rest(update.drive_id, std::move(path), std::move(image));
        freezer_.release(Freezer::Claimant::copy);
        if (held)
            change_limits(update, std::move(answer));
        else
            answer(control::Failure{400, std::move(held).error().message});
    });
}

Result<> Machine::change_image_at_rest(const std::string& drive_id, std::string path, Image image) {
    control::Drive& drive = *std::ranges::find(config_.drives, drive_id, &control::Drive::drive_id);
    TRY(hardware_->change_disk(drive, image));
    options_.files->replace_disk(drive_id, std::move(image));
    drive.path_on_host = std::move(path);
    return {};
}

/// The old image stays.
void Machine::give_up_opening(const std::string& why) {
    opening_image_.reset();
    if (auto answer = std::exchange(waiting_for_image_, std::nullopt)) {
        changes_drive_ = false;
        (*answer)(control::conflict(why));
    }
}

} // namespace aerate
