#include "serial_script.hpp"

#include "page_content.hpp"
#include "words.hpp"

#include <algorithm>
#include <cstring>

namespace bubble {

using guestkit::Block;
using guestkit::HintPolicy;

namespace {

constexpr std::string_view not_ours = "no allocated block begins there";

/// Whether the device still has the hint of an allocated block, in the word of its record that is the owner's.
std::uint32_t& in_flight(guestkit::BuddyAllocator& allocator, FrameNumber block) {
    return allocator.zone_of(block)->record(block).next;
}

} // namespace

constexpr std::array<SerialScript::Command, 25> SerialScript::commands{{
    {"help", &SerialScript::help},
    {"driver", &SerialScript::choose_driver},
    {"init", &SerialScript::init},
    {"reset", &SerialScript::reset},
    {"status", &SerialScript::status},
    {"config", &SerialScript::config},
    {"id", &SerialScript::id},
    {"marker", &SerialScript::marker},
    {"setword", &SerialScript::set_word},
    {"alloc", &SerialScript::allocate},
    {"free", &SerialScript::free_pages},
    {"hint", &SerialScript::hint},
    {"kick", &SerialScript::kick},
    {"used", &SerialScript::used},
    {"release", &SerialScript::release},
    {"write", &SerialScript::write},
    {"verify", &SerialScript::verify},
    {"read", &SerialScript::read},
    {"report", &SerialScript::report},
    {"inflate", &SerialScript::inflate},
    {"deflate", &SerialScript::deflate},
    {"dma", &SerialScript::dma},
    {"poll", &SerialScript::poll},
    {"poweroff", &SerialScript::power_off},
    {"reboot", &SerialScript::reboot},
}};

void serial_script(const Guest& guest) {
    SerialScript(guest).run();
}

void SerialScript::run() {
    guest_.console.line("BUBBLE-READY");
    for (;;) {
        arguments_ = guest_.console.read_line();
        const std::string_view name = take_word(arguments_);
        if (name.empty())
            continue;
        const auto* const command = std::ranges::find(commands, name, &Command::name);
        if (command == commands.end())
            error("unknown command");
        else
            (this->*command->run)();
    }
}

void SerialScript::help() {
    guest_.console.put("ok");
    for (const Command& command : commands) {
        guest_.console.put(" ");
        guest_.console.put(command.name);
    }
    guest_.console.line();
}

void SerialScript::choose_driver() {
    const auto behaviour = guestkit::behaviour_named(take_word(arguments_));
    if (!behaviour)
        return error("no such driver");
    options_.behaviour = *behaviour;
    ok();
}

void SerialScript::init() {
    options_.features = {optional_number(guestkit::BalloonOptions{}.features.bits)};
    driver_ = BalloonDriver::start(transport_, guest_.allocator, arena_, options_);
    if (!driver_)
        return error("the device refused");
    ok(" ", Hex{driver_->negotiated().bits});
}

void SerialScript::reset() {
    transport_.reset();
    driver_.reset();
    ok();
}

void SerialScript::status() {
    ok(" ", Hex{transport_.status()});
}

void SerialScript::config() {
    std::uint64_t offset = 0;
    if (take(offset))
        ok(" ", transport_.read_config(static_cast<std::uint32_t>(offset)));
}

void SerialScript::id() {
    ok(" ", transport_.read_config(guestkit::balloon_config::hint_command));
}

void SerialScript::marker() {
    HintQueue* const queue = hint_queue();
    if (queue == nullptr)
        return;
    const std::string_view word = take_word(arguments_);
    const auto value = word == "id" ? transport_.read_config(guestkit::balloon_config::hint_command) : number_in(word);
    if (!value)
        return error("marker N|id|0 [nokick]");
    std::optional<guestkit::CommandWord> at = queue->unused_word();
    if (!driver_->hinting()->policy().word_per_command && *value != guestkit::command_stop)
        at = guestkit::shared_word;
    if (!at)
        return error("all words are in use");
    if (!queue->add_command(*at, static_cast<std::uint32_t>(*value)))
        return error("the ring is full");
    last_word_ = *at;
    finish(*queue);
}

void SerialScript::set_word() {
    std::uint64_t value = 0;
    HintQueue* const queue = hint_queue();
    if (queue == nullptr || !take(value))
        return;
    const bool own = driver_->hinting()->policy().word_per_command;
    queue->set_word(own ? last_word_ : guestkit::shared_word, static_cast<std::uint32_t>(value));
    ok();
}

void SerialScript::allocate() {
    const auto frame = guest_.allocator.allocate({static_cast<unsigned>(optional_number(options_.hint_order.value))});
    if (!frame)
        return error("out of memory");
    in_flight(guest_.allocator, *frame) = 0;
    ok(" ", frame->value);
}

void SerialScript::free_pages() {
    ok(" ", guest_.allocator.free_pages().value);
}

void SerialScript::hint() {
    HintQueue* const queue = hint_queue();
    Block block;
    if (queue == nullptr || !take(block))
        return;
    if (!queue->add_block(block))
        return error("the ring is full");
    if (guest_.allocator.allocated_order(block.first))
        ++in_flight(guest_.allocator, block.first);
    finish(*queue);
}

void SerialScript::finish(HintQueue& queue) {
    if (take_word(arguments_) == "nokick")
        queue.channel().publish();
    else
        queue.channel().flush();
    ok();
}

void SerialScript::kick() {
    if (Channel* const queue = channel()) {
        queue->kick();
        ok();
    }
}

void SerialScript::used() {
    if (arguments_.empty() || arguments_ == " hinting")
        return hint_used();
    if (arguments_ == " dma")
        return ok(" ", disk_ ? disk_->take_used() : 0);
    Channel* const queue = channel();
    if (queue == nullptr)
        return;
    std::uint64_t count = 0;
    while (queue->take_used())
        ++count;
    ok(" ", count);
}

void SerialScript::hint_used() {
    HintQueue* const queue = hint_queue();
    if (queue == nullptr)
        return;
    const auto give_back = driver_->hinting()->policy().give_back;
    std::uint64_t count = 0;
    for (; const auto used = queue->take_used(); ++count) {
        if (!used->block || !guest_.allocator.allocated_order(*used->block))
            continue;
        std::uint32_t& hints = in_flight(guest_.allocator, *used->block);
        hints -= hints > 0 ? 1 : 0;
        if (give_back == HintPolicy::Return::when_used && hints == 0)
            guest_.allocator.free(*used->block);
    }
    ok(" ", count);
}

void SerialScript::release() {
    FrameNumber frame;
    if (!take(frame))
        return;
    if (!guest_.allocator.allocated_order(frame))
        return error(not_ours);
    const HintPolicy policy = guestkit::policy_of(options_.behaviour);
    const bool waits = policy.give_back == HintPolicy::Return::when_used || policy.in_flight == 1;
    if (waits && in_flight(guest_.allocator, frame) > 0)
        return error("this driver waits until the hint is used");
    guest_.allocator.free(frame);
    ok();
}

void SerialScript::write() {
    PageRange range;
    std::uint32_t sequence = 0;
    if (!take(range, sequence))
        return;
    write_pages(range, sequence);
    ok();
}

void SerialScript::verify() {
    PageRange range;
    std::uint32_t sequence = 0;
    if (!take(range, sequence))
        return;
    const std::uint64_t stride = std::max<std::uint64_t>(optional_number(1), 1);
    for (FrameNumber frame = range.first; frame < range.end(); frame.value += stride) {
        if (const auto damage = verify_page(frame, sequence))
            return guest_.console.line("corrupt frame=", damage->frame.value, " expected=", Hex{damage->expected},
                                       " found=", Hex{damage->found});
    }
    ok();
}

void SerialScript::read() {
    FrameNumber frame;
    if (take(frame))
        ok(" ", Hex{*words_of(frame)});
}

void SerialScript::report() {
    Block block;
    if (!initialised() || !take(block))
        return;
    if (!driver_->reporting())
        return error("reporting was not negotiated");
    Channel& queue = driver_->reporting()->channel();
    const virtio::DriverBuffer buffer{
        address_of(block.first), static_cast<std::uint32_t>(bytes_of(guestkit::pages_of(block.order)).value), true};
    if (!queue.add({&buffer, 1}, 0))
        return error("the ring is full");
    queue.flush();
    ok();
}

void SerialScript::inflate() {
    if (initialised())
        send_frames(driver_->inflation().inflate_channel());
}

void SerialScript::deflate() {
    if (initialised())
        send_frames(driver_->inflation().deflate_channel());
}

void SerialScript::send_frames(Channel& queue) {
    if (!frame_list_)
        frame_list_ = guest_.allocator.allocate({0});
    if (!frame_list_)
        return error("out of memory");
    std::uint32_t count = 0;
    for (std::string_view word = take_word(arguments_); !word.empty(); word = take_word(arguments_)) {
        const auto frame = number_in(word);
        if (!frame || count == 256)
            return error("at most 256 frame numbers");
        const auto pfn = static_cast<std::uint32_t>(*frame);
        std::memcpy(memory(address_of(*frame_list_)) + count++ * sizeof pfn, &pfn, sizeof pfn);
    }
    const virtio::DriverBuffer buffer{address_of(*frame_list_), static_cast<std::uint32_t>(count * 4), false};
    if (!queue.add({&buffer, 1}, 0))
        return error("the ring is full");
    queue.flush();
    ok();
}

void SerialScript::dma() {
    FrameNumber frame;
    std::uint64_t sector = 0;
    if (!take(frame) || !take(sector))
        return;
    if (!disk_) {
        disk_transport_ = Transport::find({}, virtio_slots, BlockReader::device_type);
        if (disk_transport_)
            disk_ = BlockReader::open(*disk_transport_, guest_.make_arena());
        if (!disk_)
            return error("no disk");
    }
    if (!disk_->read(frame, sector))
        return error("too many reads");
    ok();
}

void SerialScript::poll() {
    if (!initialised())
        return;
    if ((transport_.take_interrupts() & virtio::interrupt_reason::config_change) != 0)
        driver_->config_changed();
    driver_->poll();
    ok(" ", guest_.allocator.free_pages().value);
}

void SerialScript::power_off() {
    ok();
    bubble::power_off();
}

void SerialScript::reboot() {
    ok();
    bubble::reboot();
}

} // namespace bubble
