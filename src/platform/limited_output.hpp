// A console's output with a limit: what the guest writes beyond it is dropped, as Firecracker does it. The guest never
// waits, and the host's disk fills no faster than its operator allows.
#pragma once

#include "platform/console_output.hpp"
#include "protocol/token_bucket.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace aerate {

class LimitedOutput final : public ConsoleOutput {
public:
    LimitedOutput(std::shared_ptr<ConsoleOutput> output, const protocol::TokenBucket& bucket)
        : output_(std::move(output))
        , bucket_(bucket) {}

    /// A byte costs one token.
    [[nodiscard]] std::size_t write(std::span<const std::byte> bytes) override {
        const auto now = std::chrono::steady_clock::now();
        std::size_t allowed = 0;
        while (allowed < bytes.size() && bucket_.take(1, now).ok)
            ++allowed;
        const std::size_t taken = allowed > 0 ? output_->write(bytes.first(allowed)) : 0;
        if (taken < allowed) { // the rest comes again, and is paid for then
            bucket_.put_back(allowed - taken);
            return taken;
        }
        dropped_ += bytes.size() - allowed;
        return bytes.size();
    }
    [[nodiscard]] int writable_fd() const override { return output_->writable_fd(); }
    [[nodiscard]] std::uint64_t dropped_bytes() const override { return dropped_; }

private:
    std::shared_ptr<ConsoleOutput> output_;
    protocol::TokenBucket bucket_;
    std::uint64_t dropped_ = 0;
};

} // namespace aerate
