// A jail's directory, BASE/PROGRAM/ID, and what is in its root: what Firecracker's launcher makes, under the same
// names.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "jail/directories.hpp"
#include "jail/request.hpp"

#include <string>
#include <vector>

namespace aerate::jail {

class Place {
public:
    /// Opens the directories, and locks the jail's for as long as this is open somewhere: two starts of one jail are
    /// told apart. Fails if a process runs in it.
    [[nodiscard]] static Result<Place> open(const Request&, Missing);

    [[nodiscard]] int root() const { return root_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; } ///< of the root, for messages
    /// Goes on below what is the same directory by another mount. REQUIRES: it is.
    void use_root(FileDescriptor root) { root_ = std::move(root); }

    /// Keeps everybody else out of the root, and removes what a launcher makes from it.
    [[nodiscard]] Result<> clear();
    [[nodiscard]] Result<> copy_program(int program);
    /// Makes dev, run and the devices in there: nodes, or as mounts of this host's where `bound`.
    [[nodiscard]] Result<> make_devices(bool bound);
    /// Gives the root, and what make_devices() has made, to the jail's user. What it keeps is a file for its process's
    /// number.
    [[nodiscard]] Result<> give_away();
    [[nodiscard]] Result<> write_pid(pid_t);

    /// Removes what clear() does, and the directories if nothing else is in them: false if something is.
    [[nodiscard]] Result<bool> remove();

private:
    struct Gift {
        FileDescriptor fd;
        std::string path;
    };
    Place(const Request& request, std::string path)
        : name_(request.name.text())
        , id_(request.id.text())
        , user_(request.user)
        , group_(request.group)
        , path_(std::move(path)) {}

    [[nodiscard]] Result<FileDescriptor> private_directory(int above, const std::string& name, const std::string& path);
    [[nodiscard]] Result<> close_to_others(const std::string& path) const;
    [[nodiscard]] Result<> clear_devices() const;
    [[nodiscard]] Result<> clear_sockets() const;

    std::string name_;
    std::string id_;
    uid_t user_;
    gid_t group_;
    std::string path_;
    FileDescriptor all_jails_; ///< of this program
    FileDescriptor jail_;      ///< locked
    FileDescriptor root_;
    FileDescriptor pid_file_;
    std::vector<Gift> gifts_;
};

} // namespace aerate::jail
