// Writes what no driver would: registers, config space, descriptors and ring indices at random, after a proper start
// and without one. It survives as long as the host keeps to its memory: all that it hands to devices is far behind
// bubble's own memory, or no memory at all.
#include "random.hpp"
#include "scripts.hpp"
#include "virtio/ring_layout.hpp"

#include <cstring>

namespace bubble {
namespace {

class Hostile {
public:
    explicit Hostile(const Guest& guest)
        : guest_(guest)
        , random_(guest.info.number("bubble.seed", 1)) {
        const auto frame = guest.allocator.allocate(guestkit::max_order);
        if (!frame)
            guest.fail("no memory to play with");
        base_ = address_of(*frame).value;
        while (slots_ < virtio_slots.count && slot(slots_).read(virtio::mmio_register::magic) == virtio::mmio_magic)
            ++slots_;
        if (slots_ == 0)
            guest.fail("no device to bother");
    }

    void run() {
        const std::uint64_t limit = guest_.info.number("bubble.seconds", 10);
        Stopwatch watch;
        for (unsigned seconds = 0; seconds < limit;) {
            start_some_device();
            for (unsigned i = 0; i < actions_a_start; ++i, ++actions_)
                act();
            if (const unsigned now = watch.seconds(); now != seconds) {
                seconds = now;
                guest_.console.line("BUBBLE-PROGRESS actions=", actions_);
            }
        }
        guest_.console.line("BUBBLE-OK actions=", actions_);
    }

private:
    static constexpr std::uint64_t play_bytes = bytes_of(guestkit::pages_of(guestkit::max_order)).value;
    static constexpr unsigned actions_a_start = 64;
    static constexpr std::uint32_t queues = 6;
    static constexpr std::uint64_t queue_bytes = 1U << 16;

    [[nodiscard]] static Transport slot(std::uint64_t index) {
        return {{}, {virtio_slots.first.value + index * virtio_slots.stride.value}};
    }
    [[nodiscard]] Transport some_slot() { return slot(random_.below(slots_)); }
    /// Either where this script's own memory is, or where there is none.
    [[nodiscard]] std::uint64_t address() {
        switch (random_.below(4)) {
        case 0:
            return random_.next() | 1ULL << 45;
        case 1:
            return virtio_slots.first.value + random_.below(0x2000);
        default:
            return base_ + random_.below(play_bytes);
        }
    }
    /// A word that as an address or as a PFN is not in bubble's own memory, which is all below base_.
    [[nodiscard]] std::uint32_t harmless(std::uint32_t word) const {
        const bool own_frame = word >= 0x100 && word < base_ >> page_shift;
        const bool own_address = word >= (1U << 20) && word < base_;
        return own_frame || own_address ? word | 1U << 31 : word;
    }
    [[nodiscard]] std::uint32_t word() {
        switch (random_.below(4)) {
        case 0:
            return static_cast<std::uint32_t>(random_.below(256));
        case 1:
            return static_cast<std::uint32_t>(base_ + random_.below(play_bytes));
        case 2:
            return static_cast<std::uint32_t>((base_ + random_.below(play_bytes)) >> page_shift);
        default:
            return harmless(random_.word());
        }
    }
    void put(std::uint64_t offset, std::uint32_t value) {
        const std::uint32_t safe = harmless(value);
        std::memcpy(memory({base_ + (offset & (play_bytes - 4) & ~3ULL)}), &safe, sizeof safe);
    }

    void start_some_device() {
        Transport transport = some_slot();
        if (!transport.negotiate({random_.next() | 1ULL << 32}))
            return;
        for (std::uint16_t queue = 0; queue < queues; ++queue) {
            const std::uint64_t rings = base_ + queue * queue_bytes;
            const auto size = static_cast<std::uint16_t>(1U << random_.below(11));
            (void)transport.set_queue(queue, {size, {rings}, {rings + 0x8000}, {rings + 0xa000}, true});
        }
        transport.start();
    }

    void act() {
        Transport transport = some_slot();
        switch (random_.below(16)) {
        case 0:
            return transport.write(static_cast<std::uint32_t>(random_.below(0x400)) * 4, word());
        case 1:
            return transport.write_config(static_cast<std::uint32_t>(random_.below(8)) * 4, word());
        case 2:
            return void(transport.read(static_cast<std::uint32_t>(random_.below(0x400)) * 4));
        case 3:
            return put(random_.next(), word());
        default:
            offer_descriptors(transport, static_cast<std::uint16_t>(random_.below(queues)));
        }
    }

    /// A few descriptors and the indices that offer them, each of which may be nonsense, for either kind of ring.
    void offer_descriptors(Transport& transport, std::uint16_t queue) {
        const std::uint64_t rings = queue * queue_bytes;
        for (std::uint64_t i = 0; i < 4; ++i) {
            const std::uint64_t at = rings + random_.below(64) * virtio::descriptor_bytes;
            const std::uint64_t buffer = address();
            const std::uint32_t length = random_.below(4) == 0 ? random_.word() : 4U << random_.below(20);
            put(at, static_cast<std::uint32_t>(buffer));
            put(at + 4, static_cast<std::uint32_t>(buffer >> 32));
            put(at + 8, length);
            put(at + 12, random_.word() & (random_.below(2) == 0 ? 0x003f'0007U : 0xffff'ffffU));
        }
        put(rings + 0x8000 + 4 * random_.below(32), random_.word() & 0x003f'003fU);
        if (random_.below(8) == 0)
            put(rings + 0xa000 + 4 * random_.below(64), random_.word());
        // Mostly an index that goes up as it should.
        next_ = static_cast<std::uint16_t>(next_ + random_.below(random_.below(64) == 0 ? 0x10000 : 8));
        put(rings + 0x8000, std::uint32_t{next_} << 16);
        transport.kick(queue);
    }

    const Guest& guest_;
    Random random_;
    std::uint64_t base_ = 0;
    unsigned slots_ = 0;
    std::uint64_t actions_ = 0;
    std::uint16_t next_ = 0;
};

} // namespace

void hostile(const Guest& guest) {
    Hostile(guest).run();
}

} // namespace bubble
