#include "machine/balloon_report.hpp"

#include "control/vm_event.hpp"

namespace aerate {

void add_statistics(std::map<std::string, std::uint64_t>& into, const balloon::GuestStatistics& said) {
    for (std::size_t tag = 0; tag < said.values.size(); ++tag)
        if (said.values[tag])
            into.emplace(balloon::statistic_names[tag], *said.values[tag]);
}

void add_care(control::VmStatus& status, const BalloonCare& care) {
    status.counters.push_back({"balloon_permits_lapsed",
                               "Targets of the host's memory policy that it did not renew in time",
                               care.permits_lapsed(),
                               {}});
}

void add_balloon(control::Pulse& pulse, balloon::Balloon& balloon, const BalloonCare& care) {
    pulse.target = bytes_of(balloon.target());
    pulse.actual = bytes_of(balloon.actual());
    add_statistics(pulse.statistics, balloon.statistics().latest());
    pulse.statistics_age = balloon.statistics().age();
    pulse.unasked_deflations = balloon.counters().unasked_deflations;
    pulse.since_taken_back = balloon.since_taken_back();
    pulse.permit = care.permit_left();
    pulse.permits_lapsed = care.permits_lapsed();
}

void publish(control::EventFeed& feed, const BalloonNews& news) {
    if (!feed.heard())
        return;
    const ByteCount target = bytes_of(news.target);
    const ByteCount actual = bytes_of(news.actual);
    if (news.taken_back > PageCount{})
        feed.publish(print_event(control::TakenBackEvent{bytes_of(news.taken_back), target}));
    if (news.relieved)
        feed.publish(print_event(
            control::DistressEvent{"the guest ran out of memory and took some back from its balloon", target, actual}));
    if (news.permit_lapsed)
        feed.publish(print_event(control::PermitLapsedEvent{target, actual}));
    if (news.target_reached)
        feed.publish(print_event(control::TargetReachedEvent{target, actual}));
    if (news.oom_kills + news.alloc_stalls > 0)
        feed.publish(print_event(control::StallsEvent{news.oom_kills, news.alloc_stalls}));
    if (news.statistics)
        feed.publish(print_event(control::StatisticsEvent{target, actual}));
}

} // namespace aerate
