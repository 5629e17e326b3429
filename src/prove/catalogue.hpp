// Every model that `aerate prove` explores, with the verdict that is expected of it. A verdict that turns out otherwise
// is a bug, in the protocol or in the model.
#pragma once

#include "prove/explorer.hpp"
#include "prove/freeze_model.hpp"
#include "prove/hand_off_model.hpp"
#include "prove/hint_model.hpp"

#include <string>
#include <variant>
#include <vector>

namespace aerate::prove {

enum class Section : std::uint8_t {
    uses,    ///< each use of a hint, with each driver and each log
    planted, ///< bugs that have to be found
    hand_off,
    freeze,
};

struct Entry {
    std::string name; ///< use/driver[/log]; planted/BUG; hand-off/VARIANT; freeze/VARIANT
    Section section{};
    std::variant<HintSetting, HandOffSetting, FreezeSetting> setting;
    Verdict expected{};
    bool ships = false; ///< what Aerate does
};

/// The size of the hint models.
struct Scale {
    std::uint8_t pages = 2;
    std::uint8_t queue = 3;
    std::uint8_t rounds = 2;
};

/// Returns the whole table at one size; one row of what ships is a size larger.
std::vector<Entry> catalogue(const Scale& = {});
/// Returns what ships, larger: four pages and a queue of six for migration. Minutes, and gigabytes.
std::vector<Entry> nightly();
/// Returns the entries whose name is `name` or begins with it.
std::vector<Entry> entries_named(const std::vector<Entry>&, std::string_view name);

Exploration explore(const Entry&, const ExplorerLimits&);

} // namespace aerate::prove
