// Whatever of guestkit no script uses must still compile for a kernel. The linker drops it.
#include "scripts.hpp"

namespace aerate::guestkit {

template class BalloonDriver<virtio::PackedDriver, bubble::Transport>;
template class Hinting<virtio::PackedDriver, bubble::Transport>;
template class Reporting<virtio::PackedDriver, bubble::Transport>;
template class Inflation<virtio::PackedDriver, bubble::Transport>;
template class Statistics<virtio::PackedDriver, bubble::Transport>;

} // namespace aerate::guestkit
