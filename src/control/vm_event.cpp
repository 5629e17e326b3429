#include "control/vm_event.hpp"

#include "control/schema_json.hpp"

namespace aerate::control {

/// JSON has its line ends escaped, so each event is two lines and an empty one, whatever a reason says.
template <typename Event>
std::string print_event(const Event& event) {
    return fmt::format("event: {}\ndata: {}\n\n", Event::name, print_json(*print_object(event)));
}
template std::string print_event(const StateEvent&);
template std::string print_event(const TargetReachedEvent&);
template std::string print_event(const TakenBackEvent&);
template std::string print_event(const DistressEvent&);
template std::string print_event(const StallsEvent&);
template std::string print_event(const PermitLapsedEvent&);
template std::string print_event(const StatisticsEvent&);

} // namespace aerate::control
