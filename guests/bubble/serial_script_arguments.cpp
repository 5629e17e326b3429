// What a command takes from its line: numbers, blocks, ranges, queues. What is wrong gets an error reply.
#include "serial_script.hpp"
#include "words.hpp"

namespace bubble {

using guestkit::Block;

bool SerialScript::take(std::uint64_t& number) {
    const auto value = number_in(take_word(arguments_));
    if (!value) {
        error("a number is missing");
        return false;
    }
    number = *value;
    return true;
}

bool SerialScript::take(Block& block) {
    std::uint64_t order = 0;
    if (!take(block.first) || !take(order))
        return false;
    if (order > guestkit::max_order.value) {
        error("orders go up to 10");
        return false;
    }
    block.order = {static_cast<unsigned>(order)};
    return true;
}

bool SerialScript::take(PageRange& range, std::uint32_t& sequence) {
    std::uint64_t number = 0;
    if (!take(range.first) || !take(number))
        return false;
    sequence = static_cast<std::uint32_t>(number);
    range.count = {optional_number(1)};
    return true;
}

std::uint64_t SerialScript::optional_number(std::uint64_t otherwise) {
    return number_in(take_word(arguments_)).value_or(otherwise);
}

bool SerialScript::initialised() {
    if (!driver_)
        error("init first");
    return driver_.has_value();
}

SerialScript::HintQueue* SerialScript::hint_queue() {
    if (!initialised())
        return nullptr;
    if (!driver_->hinting()) {
        error("hinting was not negotiated");
        return nullptr;
    }
    return &driver_->hinting()->queue();
}

SerialScript::Channel* SerialScript::channel() {
    const std::string_view name = take_word(arguments_);
    if (name.empty() || name == "hinting") {
        HintQueue* const queue = hint_queue();
        return queue == nullptr ? nullptr : &queue->channel();
    }
    if (!initialised())
        return nullptr;
    if (name == "inflate")
        return &driver_->inflation().inflate_channel();
    if (name == "deflate")
        return &driver_->inflation().deflate_channel();
    if (name == "reporting" && driver_->reporting())
        return &driver_->reporting()->channel();
    error("no such queue");
    return nullptr;
}
} // namespace bubble
