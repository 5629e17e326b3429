// host-policy: many guests on one host under Aerate's law and others, in simulated time. Says so, and exits with 1, if
// the law breaks an invariant or misses what it is to reach.
#include "control/host_history.hpp"
#include "fleet.hpp"
#include "others.hpp"
#include "ours.hpp"
#include "policy/testing/random_history.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>

namespace aerate::sim {
namespace {

struct Options {
    std::vector<std::string> mixes{sim::mixes.begin(), sim::mixes.end()};
    std::vector<unsigned> seeds{1};
    std::vector<double> tightness{40, 36, 33};
    std::vector<std::string> laws{"static", "none", "mom", "esx", "aerate"};
    std::size_t guests = 200;
    double seconds = 3600;
    bool smallest = false;
    std::string json;
    std::string record;
    std::string replay;
    std::uint64_t histories = 0;
};

std::unique_ptr<Policy> policy_named(std::string_view law) {
    if (law == "mom")
        return std::make_unique<Mom>();
    if (law == "esx")
        return std::make_unique<Esx>();
    if (law == "aerate")
        return std::make_unique<Ours>();
    return std::make_unique<NoPolicy>();
}

/// What goes on in a run, and what is known when it is over.
struct Case {
    std::string_view mix;
    unsigned seed;
    std::string_view law;
    const std::vector<Guest>& guests;
    double total;
};

Row measure(const Case& subject, double seconds, Policy& policy) {
    const std::vector<Guest> taken =
        subject.law == "static" ? partition(subject.guests, subject.total) : subject.guests;
    Row row{.mix = subject.mix,
            .seed = subject.seed,
            .law = subject.law,
            .host = subject.total,
            .promised = promised(subject.guests),
            .guests = taken.size(),
            .refused = subject.guests.size() - taken.size()};
    row.outcome = run(policy, taken, subject.total, seconds);
    if (const auto* ours = dynamic_cast<const Ours*>(&policy)) {
        row.broken = ours->broken();
        if (row.broken > 0)
            std::cout << "broken: " << ours->first_broken() << '\n';
    }
    return row;
}

/// Halves the distance until it is below half a percent of what is promised.
double smallest_host(Case subject, double seconds) {
    const double all = promised(subject.guests);
    if (subject.law == "static")
        return partition_size(subject.guests);
    double too_small = 0.05 * all;
    double enough = 1.1 * all;
    while (enough - too_small > 0.004 * all) {
        subject.total = (too_small + enough) / 2;
        const auto policy = policy_named(subject.law);
        (measure(subject, seconds, *policy).outcome.undisturbed() ? enough : too_small) = subject.total;
    }
    return enough;
}

class Output {
public:
    explicit Output(const std::string& path) {
        if (!path.empty())
            json_.open(path);
    }
    void say(const Row& row) {
        std::cout << line(row) << std::endl;
        if (json_.is_open())
            json_ << json(row) << '\n';
        if (const std::string what = missed(row); !what.empty()) {
            std::cout << "missed: " << what << '\n';
            missed_ = true;
        }
    }
    [[nodiscard]] bool all_reached() {
        if (json_.is_open() && !json_.flush())
            std::cout << "the JSON could not be written\n";
        return !missed_ && (!json_.is_open() || json_);
    }

private:
    std::ofstream json_;
    bool missed_ = false;
};

int compare(const Options& options) {
    Output output(options.json);
    std::cout << heading() << '\n';
    for (const std::string& mix : options.mixes)
        for (const unsigned seed : options.seeds) {
            const auto guests = fleet(mix, options.guests, seed);
            for (const double percent : options.tightness)
                for (const std::string& law : options.laws)
                    output.say(measure({mix, seed, law, guests, percent / 100 * promised(guests)}, options.seconds,
                                       *policy_named(law)));
        }
    return output.all_reached() ? 0 : 1;
}

int find_smallest(const Options& options) {
    std::cout << "The smallest host, in GiB, on which nothing is swapped, killed or paused\n";
    for (const std::string& mix : options.mixes)
        for (const unsigned seed : options.seeds) {
            const auto guests = fleet(mix, options.guests, seed);
            std::cout << fmt::format("{:<8}{:>5} promised {:.0f}:", mix, seed, promised(guests) / 1024);
            for (const std::string& law : options.laws)
                std::cout << fmt::format(" {} {:.0f}", law,
                                         smallest_host({mix, seed, law, guests, 0}, options.seconds) / 1024)
                          << std::flush;
            std::cout << '\n';
        }
    return 0;
}

int record(const Options& options) {
    std::ofstream file(options.record);
    file << control::print_history_header() << '\n';
    Ours ours([&file](const policy::Inputs& inputs, const policy::Decisions& decisions) {
        file << control::print_host_tick({inputs, decisions}) << '\n';
    });
    const auto guests = fleet(options.mixes.front(), options.guests, options.seeds.front());
    const double total = options.tightness.front() / 100 * promised(guests);
    const Row row =
        measure({options.mixes.front(), options.seeds.front(), "aerate", guests, total}, options.seconds, ours);
    std::cout << heading() << '\n' << line(row) << '\n';
    if (!file.flush()) {
        std::cout << options.record << " could not be written\n";
        return 1;
    }
    return 0;
}

int replay(const Options& options) {
    std::ifstream file(options.replay, std::ios::binary);
    control::HostReplay replay;
    std::string piece(1U << 16, '\0');
    Result<void> read;
    while (read && file) {
        file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        read = replay.feed(std::string_view(piece).substr(0, static_cast<std::size_t>(file.gcount())));
    }
    if (read)
        read = replay.finish();
    std::cout << fmt::format("{} ticks, {} decided otherwise than recorded\n", replay.ticks(), replay.different());
    if (replay.different() > 0)
        std::cout << "first: " << replay.first_difference() << '\n';
    if (!read)
        std::cout << read.error().message << '\n';
    return read && replay.different() == 0 ? 0 : 1;
}

int try_histories(std::uint64_t histories) {
    for (std::uint64_t seed = 1; seed <= histories; ++seed) {
        policy::testing::RandomHistory history(seed);
        for (int tick = 0; tick < policy::testing::ticks_of_a_history; ++tick)
            if (const auto broken = history.tick()) {
                std::cout << fmt::format("seed {}, tick {}, {}: {}\n", seed, tick, broken->vm.value, broken->rule);
                return 1;
            }
    }
    std::cout << fmt::format("{} histories of {} ticks: no invariant broken\n", histories,
                             policy::testing::ticks_of_a_history);
    return 0;
}

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Runs many guests on one host, in simulated time, under Aerate's memory policy and others");
    app.add_option("--mix", options.mixes, "office, ci, herd, cache, hostile (all)")
        ->check(CLI::IsMember(options.mixes))
        ->delimiter(',');
    app.add_option("--seed", options.seeds, "which guests, and what they do (1)")->delimiter(',');
    app.add_option("--percent", options.tightness, "the host's memory, of what is promised (40,36,33)")
        ->check(CLI::Range(1, 200))
        ->delimiter(',');
    app.add_option("--law", options.laws, "static, none, mom, esx, aerate (all)")
        ->check(CLI::IsMember(options.laws))
        ->delimiter(',');
    app.add_option("--guests", options.guests, "how many (200)")->check(CLI::Range(1, 4096));
    app.add_option("--seconds", options.seconds, "of simulated time (3600)")->check(CLI::Range(1, 1'000'000));
    app.add_flag("--smallest", options.smallest, "look for the smallest host that suffices, for each law");
    app.add_option("--json", options.json, "write a line of JSON for each row to this file");
    app.add_option("--record", options.record,
                   "record what the law sees and decides, for the first mix, seed and percentage");
    app.add_option("--replay", options.replay, "take the law through a history that was recorded");
    app.add_option("--histories", options.histories, "take the law through so many random histories");
    CLI11_PARSE(app, argc, argv);
    if (options.histories > 0)
        return try_histories(options.histories);
    if (!options.replay.empty())
        return replay(options);
    if (!options.record.empty())
        return record(options);
    return options.smallest ? find_smallest(options) : compare(options);
}

} // namespace
} // namespace aerate::sim

int main(int argc, char** argv) {
    return aerate::sim::main(argc, argv);
}
