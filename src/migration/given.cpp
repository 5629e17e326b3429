#include "migration/given.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/printable.hpp"
#include "base/regular_file.hpp"
#include "base/sync_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <ranges>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace aerate::migration {
namespace {

constexpr std::string_view prefix = "given-";
constexpr std::string_view explanation = "Given to the other side of a migration. It may run there: find out before it "
                                         "is started here again.";
constexpr std::string_view guest_key = "guest ";
constexpr std::string_view lease_key = "lease ";
constexpr std::size_t longest_note = 4096;

Result<Lease::Terms> parse_terms(std::string_view text) {
    const auto space = text.find(' ');
    const auto id = Session::parse(text.substr(0, space));
    const std::string_view digits = space == text.npos ? "" : text.substr(space + 1);
    std::uint64_t epoch = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), epoch);
    if (!id || error != std::errc() || end != digits.data() + digits.size())
        return fail("its lease is not a number and a count");
    return Lease::Terms{id->value, epoch};
}

/// Returns the paths of all notes.
Result<std::vector<std::string>> notes_in(const std::string& directory) {
    std::error_code error;
    std::vector<std::string> notes;
    for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
        if (at->path().filename().native().starts_with(prefix))
            notes.push_back(at->path().native());
    if (error)
        return fail("cannot look for given-SESSION in {}: {}", directory, error.message());
    return notes;
}

struct Claimed {
    bool ours = false;
    std::string why_not{};
};

/// Asks the lease, in the name of the side that wrote the note.
Claimed claim(const std::string& note, const Given& given, Lease* lease) {
    const auto session = Session::parse(std::string_view(note).substr(note.rfind('/') + 1 + prefix.size()));
    if (!session)
        return {.why_not = "the file's name is not given-SESSION"};
    if (!given.terms)
        return {.why_not = "it may run there, since that migration had no lease"};
    if (lease == nullptr)
        return {.why_not = "it may run there, and the --lease of that migration knows: give it here too"};
    auto won = lease->claim(*given.terms, *session, Side::source);
    if (!won)
        return {.why_not = "it may run there: " + won.error().message};
    return {.ours = *won, .why_not = "the lease says that the other side has it"};
}

} // namespace

std::string Given::text() const {
    std::string text(explanation);
    text += '\n';
    if (!guest.empty())
        text += fmt::format("{}{}\n", guest_key, guest);
    if (terms)
        text += fmt::format("{}{} {}\n", lease_key, Session{terms->id}.hex(), terms->epoch);
    return text;
}

Result<Given> Given::parse(std::string_view text) {
    Given given;
    if (!text.starts_with(explanation))
        return fail("it is not a note of aerate");
    for (const auto part : text | std::views::split('\n') | std::views::drop(1)) {
        const std::string_view line(part.begin(), part.end());
        if (line.starts_with(guest_key) && given.guest.empty())
            given.guest = line.substr(guest_key.size());
        else if (line.starts_with(lease_key) && !given.terms)
            given.terms = TRY(parse_terms(line.substr(lease_key.size())));
        else if (!line.empty())
            return fail("it has a line that is not known: {}", printable(line));
    }
    return given;
}

Result<std::string> record_given(const std::string& directory, const Session& session, const Given& given) {
    std::string path = fmt::format("{}/{}{}", directory, prefix, session.hex());
    const FileDescriptor file = host::descriptor(
        [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600); });
    if (!file.valid())
        return fail_errno("cannot record in {} that the guest is given away", directory);
    const std::string text = given.text();
    auto written = write_at(file.get(), std::as_bytes(std::span(text)), {0});
    if (written && ::fsync(file.get()) != 0)
        written = fail_errno("it cannot be flushed to the disk");
    if (!written) {
        forget_given(path);
        return fail_because(std::move(written).error(), "cannot write {}", path);
    }
    if (auto synced = sync_directory(directory); !synced) {
        forget_given(path);
        return std::unexpected(std::move(synced).error());
    }
    return path;
}

void forget_given(const std::string& path) {
    if (!path.empty())
        (void)::unlink(path.c_str());
}

Result<> check_not_given(const std::string& directory, std::string_view guest, Lease* lease) {
    for (const std::string& note : TRY(notes_in(directory))) {
        const auto text = TRY(read_text_file(note, longest_note));
        const auto given = Given::parse(text);
        if (given && !given->guest.empty() && given->guest != guest)
            continue;
        const auto claimed = given ? claim(note, *given, lease) : Claimed{.why_not = given.error().message};
        if (!claimed.ours)
            return fail("{} was given to the other side of a migration, as {} says: {}. If it runs nowhere, remove "
                        "that file",
                        guest, printable(note), claimed.why_not);
        log::info("{} was given to the other side of a migration, which has not taken it: the lease says that it is "
                  "this side's",
                  guest);
        forget_given(note);
    }
    return {};
}

} // namespace aerate::migration
