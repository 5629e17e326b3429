// A Linux guest as its host sees it: what it wants, what it has, its balloon driver and free page reporting. In MiB and
// seconds. The rates are assumptions, each with its name here; docs/host-policy.md says where they come from.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace aerate::sim {

inline constexpr double step_seconds = 0.1;

namespace assumed {
inline constexpr double inflate = 800;         ///< MiB/s, the driver; of clean cache too
inline constexpr double deflate = 2000;        ///< MiB/s
inline constexpr double take_back = 300;       ///< MiB/s, by the driver when the guest runs out, in steps of 1 MiB
inline constexpr double reclaim = 1000;        ///< MiB/s of clean cache, by whoever allocates
inline constexpr double read_again = 400;      ///< MiB/s, from the disk
inline constexpr double reporting_seconds = 2; ///< from free to reported
inline constexpr double residue = 0.015;       ///< of the size: free in blocks too small to be reported
inline constexpr double kernel = 60;           ///< MiB, of the guest's
inline constexpr double oom_seconds = 20;      ///< without a page, until the guest kills
inline constexpr double swap_out = 500;        ///< MiB/s, the host's
inline constexpr double swap_in = 200;         ///< MiB/s a guest
inline constexpr double swapped_wanted = 0.05; ///< of what is swapped, each second
inline constexpr double swap_size = 0.05;      ///< of the host's memory
} // namespace assumed

enum class Kind : std::uint8_t {
    idle,
    web,
    build,
    jvm,
    database,
    cron,
    leak,
    low_liar,
    high_liar,
    mute,
    refuser,
    spiteful,
    hog
};

struct Said {
    double free, available, cache, at;
};

/// What a guest went through.
struct Suffered {
    double stalled = 0;      ///< seconds
    double host_stalled = 0; ///< seconds, on the host's swap
    double read_again = 0;   ///< MiB
    double moved = 0;        ///< MiB by the balloon, both ways
    double paused = 0;       ///< seconds
    double longest_pause = 0;
    unsigned oom_kills = 0;      ///< with a balloon that has memory
    unsigned reversals = 0;      ///< of the balloon's direction
    std::vector<double> waits{}; ///< seconds, from the first page that was not there to the last
};

struct Guest {
    Kind kind{};
    double size = 0;
    double floor = 0;
    double shares = 1000;
    double phase = 0;
    std::mt19937 random{};
    // What it wants now.
    double wanted = 150;     ///< anonymous memory
    double working_set = 50; ///< of its files
    double reads = 0.1;      ///< MiB/s of that
    double rate = 500;       ///< MiB/s, of allocation
    double streams = 0;      ///< MiB/s that are read once
    double busy_until = 0;
    double next_burst = 0;
    // What it has.
    double anonymous = 100;
    double cache = 30;
    double balloon = 0;
    double held = 0;    ///< free, and still resident
    double swapped = 0; ///< by the host
    // What its host does with it, and knows of it.
    double target = 0;
    bool paused = false;
    std::optional<Said> said{};
    std::uint64_t unasked_deflations = 0;
    std::uint64_t stalls = 0;

    Suffered suffered{};

    [[nodiscard]] double watermark() const { return 16 + size / 128; }
    [[nodiscard]] double used() const { return assumed::kernel + anonymous + cache; }
    [[nodiscard]] double usable() const { return size - balloon; }
    [[nodiscard]] double free() const { return usable() - used(); }
    [[nodiscard]] double resident() const { return used() + held - swapped; }

    /// Lives for a step.
    void live(double now);
    /// Reports statistics, if `period` has passed since the last.
    void speak(double now, double period);
    /// Ends a wait for memory, at the latest with the run.
    void end_wait(double now);
    /// Boots again: the host killed it.
    void restart();

private:
    void want(double now);
    void take_free(double amount);
    double reclaim(double amount);
    void drive_balloon();
    void inflate();
    void deflate(double amount);
    void allocate(double now);
    void wait(double now, double got, double asked);
    void read_files();
    void report();
    void turn(int direction, double amount);

    double pause_so_far_ = 0;
    double without_page_ = 0;
    double short_since_ = -1;
    int direction_ = 0;
};

} // namespace aerate::sim
