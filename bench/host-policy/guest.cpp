#include "guest.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace aerate::sim {
namespace {

constexpr double dt = step_seconds;

} // namespace

void Guest::want(double now) {
    std::uniform_real_distribution<double> uniform(0, 1);
    std::exponential_distribution<double> exponential(1);
    const auto wave = [&](double seconds) { return std::sin(2 * std::numbers::pi * now / seconds + phase); };
    switch (kind) {
    case Kind::idle:
        wanted = 0.08 * size;
        working_set = 0.02 * size;
        reads = 0.2;
        break;
    case Kind::web:
        wanted = size * (0.22 + 0.12 * wave(7200));
        working_set = 0.12 * size;
        reads = 4;
        break;
    case Kind::jvm:
        wanted = 0.6 * size;
        working_set = 0.05 * size;
        reads = 1;
        break;
    case Kind::database:
        wanted = 0.3 * size;
        working_set = 0.45 * size;
        reads = 120;
        break;
    case Kind::build:
    case Kind::spiteful: {
        if (now >= next_burst) {
            busy_until = now + 30 + 120 * uniform(random);
            next_burst = now + 200 + 900 * exponential(random);
            working_set = 0.25 * size;
        }
        const bool busy = now < busy_until;
        wanted = (busy ? 0.65 : 0.07) * size;
        rate = busy ? 400 : 2000;
        reads = busy ? 40 : 0.2;
        streams = busy ? 20 : 0;
        if (kind == Kind::spiteful && balloon > 100) { // wants it all as soon as something is taken
            wanted = 0.9 * size;
            rate = 2000;
        }
        break;
    }
    case Kind::cron: {
        const double second = std::fmod(now, 1800);
        wanted = (second > 60 && second < 130 ? 0.55 : 0.12) * size;
        working_set = 0.1 * size;
        reads = 3;
        rate = 40;
        break;
    }
    case Kind::leak:
        wanted = 0.1 * size + std::fmod(now + phase * 500, 3600) / 3600 * 0.85 * size;
        break;
    case Kind::hog:
        wanted = 0.1 * size;
        streams = 300;
        break;
    case Kind::low_liar:
    case Kind::high_liar:
    case Kind::mute:
    case Kind::refuser:
        wanted = size * (0.3 + 0.15 * wave(3600));
        working_set = 0.15 * size;
        reads = 3;
        break;
    }
}

/// Uses free memory, evenly what is resident and what is not.
void Guest::take_free(double amount) {
    const double available = std::max(free(), 1e-9);
    const double resident_part = amount * std::min(1.0, held / available);
    held = std::max(0.0, held - std::max(resident_part, amount - (available - held)));
}

double Guest::reclaim(double amount) {
    const double got = std::min(amount, std::max(0.0, cache - 5));
    cache -= got;
    held += got;
    return got;
}

void Guest::turn(int direction, double amount) {
    if (amount <= 4)
        return;
    if (direction_ == -direction)
        ++suffered.reversals;
    direction_ = direction;
}

void Guest::inflate() {
    const double most = std::min(target - balloon, assumed::inflate * dt);
    double can = free() - watermark() / 2;
    if (can < most)
        can += reclaim(std::min(most - can, assumed::inflate * dt));
    const double amount = std::clamp(most, 0.0, std::max(0.0, can));
    take_free(amount);
    balloon += amount;
    suffered.moved += amount;
    turn(1, amount);
}

void Guest::deflate(double amount) {
    balloon -= amount;
    suffered.moved += amount;
}

void Guest::drive_balloon() {
    if (target > balloon + 0.01) {
        if (kind != Kind::refuser)
            inflate();
    } else if (target < balloon - 0.01) {
        const double amount = std::min(balloon - target, assumed::deflate * dt);
        deflate(amount);
        turn(-1, amount);
    }
}

void Guest::end_wait(double now) {
    if (short_since_ >= 0)
        suffered.waits.push_back(now - short_since_);
    short_since_ = -1;
}

void Guest::wait(double now, double got, double asked) {
    if (got < asked - 0.5 && balloon + target > 1) {
        suffered.stalled += dt * (1 - got / asked);
        ++stalls;
        if (short_since_ < 0)
            short_since_ = now;
    } else if (got >= asked - 0.5) {
        end_wait(now);
    }
    if (got >= 0.1 || balloon <= 1 || asked <= 1) {
        without_page_ = std::max(0.0, without_page_ - dt);
    } else if ((without_page_ += dt) > assumed::oom_seconds) {
        ++suffered.oom_kills;
        without_page_ = 0;
        anonymous *= 0.3;
    }
}

void Guest::allocate(double now) {
    const double more = wanted - anonymous;
    if (more < 0) {
        const double freed = std::min(-more, 2000 * dt);
        anonymous -= freed;
        held += freed;
        swapped -= std::min(swapped, freed * swapped / std::max(1.0, anonymous + freed));
    }
    if (more <= 0) {
        end_wait(now);
        return;
    }
    const double asked = std::min(more, rate * dt);
    double can = free() - watermark();
    double reclaimed = 0;
    if (can < asked) {
        reclaimed = reclaim(asked - can);
        can += reclaimed;
    }
    if (can < asked && balloon > 0) { // DEFLATE_ON_OOM
        const double back = std::min({balloon, asked - can, assumed::take_back * dt});
        deflate(back);
        can += back;
        reclaimed += 3 * back;
        ++unasked_deflations;
        ++stalls;
        if (direction_ == 1)
            ++suffered.reversals;
        direction_ = -1;
    }
    const double got = std::clamp(can, 0.0, asked);
    take_free(got);
    anonymous += got;
    wait(now, got, asked);
    suffered.stalled += std::min(dt, reclaimed / assumed::reclaim);
}

void Guest::read_files() {
    const double hit = working_set > 0 ? std::min(1.0, cache / working_set) : 1;
    const double missed = reads * (1 - hit) * dt;
    suffered.read_again += missed;
    suffered.stalled += missed / assumed::read_again;
    const double grow = std::min(missed + streams * dt, std::max(0.0, free() - watermark()));
    take_free(grow);
    cache += grow;
}

void Guest::report() {
    held = std::min(held, std::max(0.0, free()));
    const double residue = assumed::residue * size;
    if (held > residue)
        held -= std::min(held - residue, std::max((held - residue) * dt / assumed::reporting_seconds, 5.0));
}

void Guest::live(double now) {
    if (paused) {
        suffered.paused += dt;
        pause_so_far_ += dt;
        suffered.longest_pause = std::max(suffered.longest_pause, pause_so_far_);
        return;
    }
    pause_so_far_ = 0;
    want(now);
    drive_balloon();
    allocate(now);
    read_files();
    report();
}

void Guest::speak(double now, double period) {
    if (kind == Kind::mute || paused || (said && now - said->at < period))
        return;
    const double unused = std::max(0.0, free());
    said = Said{unused, std::max(0.0, unused - watermark() + std::max(0.0, cache - 5)), cache, now};
    if (kind == Kind::low_liar)
        said->free = said->available = 0;
    if (kind == Kind::high_liar)
        said->free = said->available = usable();
}

void Guest::restart() {
    anonymous = 100;
    cache = 30;
    swapped = held = balloon = target = busy_until = 0;
}

} // namespace aerate::sim
