#include "fleet.hpp"

#include <numbers>
#include <numeric>
#include <utility>

namespace aerate::sim {
namespace {

using Parts = std::vector<std::pair<Kind, int>>; ///< of a hundred

Parts parts_of(std::string_view mix) {
    using enum Kind;
    if (mix == "office")
        return {{idle, 40}, {web, 25}, {build, 15}, {jvm, 8}, {database, 7}, {cron, 5}};
    if (mix == "ci")
        return {{build, 80}, {idle, 20}};
    if (mix == "herd")
        return {{cron, 70}, {idle, 20}, {web, 10}};
    if (mix == "cache")
        return {{database, 35}, {hog, 25}, {idle, 40}};
    return {{idle, 25},     {web, 15}, {build, 12},  {leak, 8},     {low_liar, 8},
            {high_liar, 8}, {mute, 8}, {refuser, 6}, {spiteful, 6}, {hog, 4}};
}

} // namespace

std::vector<Guest> fleet(std::string_view mix, std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<Kind> bag;
    for (const auto& [kind, many] : parts_of(mix))
        bag.insert(bag.end(), static_cast<std::size_t>(many), kind);
    constexpr std::array sizes{1024, 2048, 2048, 4096, 4096, 8192};
    std::vector<Guest> guests(count);
    for (std::size_t i = 0; i < count; ++i) {
        Guest& guest = guests[i];
        guest.kind = bag[i * bag.size() / count];
        guest.size = sizes[random() % sizes.size()];
        guest.floor = guest.size / 4;
        guest.shares = 1000.0 * static_cast<double>(1 + random() % 2);
        guest.phase = static_cast<double>(random() % 1000) / 1000 * 2 * std::numbers::pi;
        guest.random.seed(random());
        guest.next_burst = static_cast<double>(random() % 600);
    }
    return guests;
}

double promised(const std::vector<Guest>& guests) {
    return std::transform_reduce(guests.begin(), guests.end(), 0.0, std::plus(),
                                 [](const Guest& guest) { return guest.size; });
}

} // namespace aerate::sim
