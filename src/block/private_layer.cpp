#include "block/private_layer.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace aerate {

Result<std::unique_ptr<PrivateLayer>> PrivateLayer::create(int image, int directory, ByteCount size) {
    // O_EXCL: it never gets a name (open(2), O_TMPFILE).
    FileDescriptor file = host::descriptor(
        [directory] { return ::openat(directory, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR); });
    if (!file.valid())
        return fail_errno("no file without a name can be made there");
    // Whatever is against it: another file system, one that cannot, a block device, no room for the extents. What came
    // over before it failed is in no sector that the map has.
    const bool cloned = ::ioctl(file.get(), FICLONE, image) == 0;
    if (!cloned && ::ftruncate(file.get(), static_cast<off_t>(size.value)) != 0)
        return fail_errno("no file of {} bytes can be made there", size.value);
    std::optional<SectorMap> map;
    if (!cloned)
        map = TRY(SectorMap::create(size));
    return std::unique_ptr<PrivateLayer>(new PrivateLayer(image, std::move(file), std::move(map)));
}

} // namespace aerate
