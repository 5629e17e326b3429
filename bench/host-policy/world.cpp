#include "world.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace aerate::sim {
namespace {

constexpr double dt = step_seconds;

/// What the host needs for itself: it breathes, and has a job of its own each 40 minutes.
double own(const World& world) {
    const double job = std::fmod(world.now, 2400) < 60 ? 0.01 * world.total : 0;
    return 1500 + 0.01 * world.total * (0.5 + 0.5 * std::sin(world.now / 700)) + job;
}

double resident(const World& world) {
    return std::transform_reduce(world.guests.begin(), world.guests.end(), 0.0, std::plus(),
                                 [](const Guest& guest) { return guest.resident(); });
}

/// Writes guests' pages to swap, whoever they belong to. Returns how much.
double swap_out(World& world, double available) {
    double swapped = 0;
    for (const Guest& guest : world.guests)
        swapped += guest.swapped;
    const double room = std::max(0.0, assumed::swap_size * world.total - swapped);
    const double amount = std::min(0.01 * world.total - available, room);
    if (amount <= 0)
        return 0;
    const double all = resident(world);
    for (Guest& guest : world.guests) {
        const double pages = amount * guest.resident() / all;
        guest.swapped += pages;
        guest.suffered.host_stalled += pages / assumed::swap_out;
    }
    return amount;
}

/// Kills the largest guest, which boots again. Returns what that freed.
double kill_largest(World& world) {
    Guest& guest = *std::ranges::max_element(world.guests, {}, &Guest::resident);
    const double before = guest.resident();
    guest.restart();
    return before - guest.resident();
}

/// Reads back what guests touch of what was swapped. Returns how much.
double swap_in(World& world) {
    double all = 0;
    for (Guest& guest : world.guests) {
        const double back = std::min(guest.swapped * assumed::swapped_wanted * dt, 100 * dt);
        guest.swapped -= back;
        guest.suffered.host_stalled += back / assumed::swap_in;
        all += back;
    }
    return all;
}

void note_pressure(World& world, double moved) {
    const double stalled = std::min(1.0, moved / (assumed::swap_out * dt));
    world.pressure_some += (stalled - world.pressure_some) * dt / 2;
    world.pressure_full += ((stalled > 0.9 ? stalled : 0) - world.pressure_full) * dt / 2;
}

Outcome outcome(const World& world, Outcome result, double seconds) {
    std::vector<double> waits;
    double reversals = 0;
    for (const Guest& guest : world.guests) {
        const Suffered& suffered = guest.suffered;
        result.stalled += suffered.stalled;
        result.host_stalled += suffered.host_stalled;
        result.read_again += suffered.read_again;
        result.moved += suffered.moved;
        result.paused += suffered.paused;
        result.longest_pause = std::max(result.longest_pause, suffered.longest_pause);
        result.guest_ooms += suffered.oom_kills;
        reversals += suffered.reversals;
        if (guest.kind <= Kind::cron)
            waits.insert(waits.end(), suffered.waits.begin(), suffered.waits.end());
    }
    std::ranges::sort(waits);
    if (!waits.empty())
        result.wait_p99 = waits[waits.size() * 99 / 100];
    if (!world.guests.empty())
        result.reversals = reversals / static_cast<double>(world.guests.size()) / (seconds / 3600);
    return result;
}

} // namespace

Outcome run(Policy& policy, std::vector<Guest> guests, double total, double seconds) {
    World world{.total = total, .guests = std::move(guests)};
    Outcome result;
    double next_look = 0;
    const auto steps = static_cast<unsigned>(seconds / dt);
    for (unsigned step = 0; step < steps; ++step) {
        world.now = step * dt;
        for (Guest& guest : world.guests) {
            guest.live(world.now);
            guest.speak(world.now, policy.statistics_period());
        }
        double available = total - own(world) - resident(world);
        double moved = 0;
        if (available < 0.005 * total) {
            moved = swap_out(world, available);
            available += moved;
            while (available < 0 && !world.guests.empty()) {
                const double freed = kill_largest(world);
                ++result.host_ooms;
                available += freed;
                if (freed <= 0)
                    break;
            }
        }
        note_pressure(world, moved + swap_in(world));
        const double held = resident(world);
        result.resident_peak = std::max(result.resident_peak, held);
        result.resident_mean += held / steps;
        if (world.now >= next_look) {
            policy.look(world, std::max(0.0, available));
            next_look = world.now + policy.period();
        }
    }
    for (Guest& guest : world.guests)
        guest.end_wait(world.now);
    return outcome(world, result, seconds);
}

} // namespace aerate::sim
