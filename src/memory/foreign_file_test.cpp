#include "base/fd.hpp"
#include "memory/foreign_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <string>
#include <thread>

namespace aerate {
namespace {

TEST(ForeignFile, MemoryAndOrdinaryFilesAreFine) {
    const FileDescriptor memory(::memfd_create("memory", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(memory.get(), 8192), 0);
    const auto examined = examine_foreign_file(memory.get());
    ASSERT_TRUE(examined) << examined.error().message;
    EXPECT_EQ(examined->size, ByteCount{8192});
    EXPECT_EQ(examined->page_size, page_size);
    // As User Mode Linux has it: somewhere for temporary files, and unlinked.
    for (const char* const directory : {"/dev/shm", "/tmp", "/var/tmp"}) {
        const FileDescriptor file(::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        if (file.valid()) {
            EXPECT_TRUE(examine_foreign_file(file.get())) << directory;
        }
    }
    const FileDescriptor device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(examine_foreign_file(device.get()));
    EXPECT_FALSE(examine_foreign_file(-1));
}

/// A file that is a filesystem of its own, whose process answers two requests and then none.
class FuseFile {
public:
    FuseFile()
        : device_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
        path_ = std::filesystem::temp_directory_path() / "aerate-fuse-XXXXXX";
        const FileDescriptor place(::mkstemp(path_.data()));
        const std::string options = "fd=" + std::to_string(device_.get()) + ",rootmode=100600,user_id=0,group_id=0";
        mounted_ = device_.valid() && place.valid() &&
                   ::mount("aerate", path_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
        if (!mounted_)
            return;
        server_ = std::thread([this] { serve(); });
        file = FileDescriptor(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
        server_.join();
    }
    FuseFile(const FuseFile&) = delete;
    FuseFile& operator=(const FuseFile&) = delete;
    ~FuseFile() {
        device_.close(); // ends whoever waits
        file.close();
        if (mounted_)
            ::umount2(path_.c_str(), MNT_DETACH);
        ::unlink(path_.c_str());
    }
    void give_up() { device_.close(); }
    FileDescriptor file;

private:
    void serve() const {
        for (bool opened = false; !opened;) {
            std::array<std::byte, FUSE_MIN_READ_BUFFER> request{};
            pollfd waiting{.fd = device_.get(), .events = POLLIN, .revents = 0};
            if (::poll(&waiting, 1, 5000) != 1 || ::read(device_.get(), request.data(), request.size()) < 0)
                return;
            fuse_in_header head{};
            std::memcpy(&head, request.data(), sizeof head);
            opened = head.opcode == FUSE_OPEN;
            std::array<std::byte, sizeof(fuse_out_header) + sizeof(fuse_init_out)> answer{};
            fuse_init_out init{};
            init.major = FUSE_KERNEL_VERSION;
            init.minor = FUSE_KERNEL_MINOR_VERSION;
            init.max_write = 4096;
            const bool is_init = head.opcode == FUSE_INIT;
            fuse_out_header out{.len = static_cast<std::uint32_t>(is_init ? answer.size() : sizeof(fuse_out_header)),
                                .error = is_init ? 0 : -ENOSYS,
                                .unique = head.unique};
            std::memcpy(answer.data(), &out, sizeof out);
            std::memcpy(answer.data() + sizeof out, &init, sizeof init);
            (void)!::write(device_.get(), answer.data(), out.len);
        }
    }
    FileDescriptor device_;
    std::string path_;
    bool mounted_ = false;
    std::thread server_;
};

TEST(ForeignFile, V2_AFilesystemThatIsAProcessIsRefusedWithoutAskingIt) {
    FuseFile fuse;
    if (!fuse.file.valid())
        GTEST_SKIP() << "cannot mount a FUSE filesystem: needs root and /dev/fuse";
    auto examined = std::async(std::launch::async, [&] { return examine_foreign_file(fuse.file.get()); });
    const bool at_once = examined.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
    fuse.give_up();
    EXPECT_TRUE(at_once) << "it waited for an answer";
    const auto outcome = examined.get();
    ASSERT_FALSE(outcome);
    EXPECT_NE(outcome.error().message.find("fuse"), std::string::npos) << outcome.error().message;
}

} // namespace
} // namespace aerate
