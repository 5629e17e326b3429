// What the guest can be told: one JSON document, which the operator replaces and patches, and the guest reads by path.
//
// It belongs to this process: no snapshot has it, and no guest takes it along.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::mmds {

enum class Format : std::uint8_t {
    json,
    imds, ///< EC2's: an object is the list of its keys, a string its text, and nothing else has a form
};

class Store {
public:
    static constexpr std::size_t default_limit = 51200; ///< Firecracker's

    /// `limit` is of the document as it is printed, in bytes.
    explicit Store(std::size_t limit = default_limit);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    struct Refusal {
        bool too_large = false;
        std::string message;
    };
    /// A document that is refused leaves the one that is there as it is.
    [[nodiscard]] std::expected<void, Refusal> put(std::string_view json);
    /// Merges (RFC 7396). Refused while there is no document.
    [[nodiscard]] std::expected<void, Refusal> patch(std::string_view json);
    /// Returns the document; "{}" while there is none, as Firecracker.
    [[nodiscard]] std::string print() const;

    enum class Missing : std::uint8_t {
        value,
        form, ///< there is one, which the format has no form for
    };
    /// Returns what a path leads to: a JSON pointer (RFC 6901), which may end with one more slash, and may have several
    /// where one would do.
    [[nodiscard]] std::expected<std::string, Missing> get(std::string_view path, Format) const;

private:
    struct Document;
    [[nodiscard]] std::expected<void, Refusal> take(Document);

    std::size_t limit_;
    std::unique_ptr<Document> document_; ///< null: none was put
};

} // namespace aerate::mmds
