#include "others.hpp"

#include "fleet.hpp"

#include <algorithm>
#include <cmath>

namespace aerate::sim {
namespace {

/// The host's own, at its most: see own() in world.cpp.
double without_own(double total) {
    return total - 1500 - 0.02 * total;
}

} // namespace

std::vector<Guest> partition(const std::vector<Guest>& guests, double total) {
    double left = without_own(total);
    std::vector<Guest> taken;
    for (const Guest& guest : guests) {
        if (guest.size > left)
            continue;
        left -= guest.size;
        taken.push_back(guest);
    }
    return taken;
}

double partition_size(const std::vector<Guest>& guests) {
    return (promised(guests) + 1500) / 0.98;
}

void Mom::look(World& world, double available) {
    const double host_free = available / world.total;
    for (Guest& guest : world.guests) {
        const double now = guest.usable();
        double next = std::min(guest.size, now * 1.05);
        if (host_free < 0.20) {
            const double unused = guest.said ? guest.said->free : 0;
            const double guest_free = host_free <= 0.05 ? host_free - 0.05 : host_free;
            next = std::min(now, std::max(now * 0.95, std::max(guest.floor, now - unused + guest_free * now)));
        }
        if (std::fabs(next - now) > 0.0025 * now)
            guest.target = guest.size - next;
    }
}

namespace {
constexpr double slice = 32;
constexpr int slices_max = 400; ///< in a look
constexpr double idle_cost = 4; ///< 1 / (1 - the tax of 75 %)
} // namespace

double Esx::worth(const Guest& guest, std::size_t number) const {
    const double active = active_[number];
    return guest.shares * guest.size / ((guest.size - guest.target) * (active + idle_cost * (1 - active)));
}

void Esx::take(World& world, double wanted) {
    for (int slices = 0; slices < slices_max && wanted > 0; ++slices) {
        Guest* poorest = nullptr;
        double least = 0;
        for (std::size_t i = 0; i < world.guests.size(); ++i) {
            Guest& guest = world.guests[i];
            if (guest.size - guest.target - slice < std::max(guest.floor, 0.35 * guest.size) ||
                guest.target > guest.balloon + 512)
                continue;
            if (const double mine = worth(guest, i); poorest == nullptr || mine < least) {
                least = mine;
                poorest = &guest;
            }
        }
        if (poorest == nullptr)
            return;
        poorest->target += slice;
        wanted -= slice;
    }
}

void Esx::give(World& world, double can) {
    for (int slices = 0; slices < slices_max && can > 0; ++slices) {
        Guest* richest = nullptr;
        double most = 0;
        for (std::size_t i = 0; i < world.guests.size(); ++i) {
            Guest& guest = world.guests[i];
            if (guest.target <= 0)
                continue;
            if (const double mine = worth(guest, i); richest == nullptr || mine > most) {
                most = mine;
                richest = &guest;
            }
        }
        if (richest == nullptr)
            return;
        const double amount = std::min(slice, richest->target);
        richest->target -= amount;
        can -= amount;
    }
}

void Esx::look(World& world, double available) {
    const bool first = active_.empty();
    active_.resize(world.guests.size());
    for (std::size_t i = 0; i < active_.size(); ++i) {
        const Guest& guest = world.guests[i];
        const double in_use = assumed::kernel + 0.8 * guest.anonymous + std::min(guest.cache, guest.working_set);
        const double active =
            std::min(1.0, in_use / std::max(1.0, guest.usable() - std::max(0.0, guest.free() - guest.held)));
        active_[i] = first ? active : std::max(active, active_[i] + (active - active_[i]) * 0.03);
    }
    const double high = 0.06 * world.total;
    if (available < high)
        take(world, high * 1.2 - available);
    else if (available > high * 1.5)
        give(world, available - high * 1.5);
}

} // namespace aerate::sim
