#include "prove/story.hpp"

#include <fmt/format.h>

namespace aerate::prove {

// hint_story.cpp, hand_off_story.cpp and freeze_story.cpp
std::optional<Story> tell_hints(const HintSetting&, const Trace&);
std::optional<Story> tell_hand_off(const HandOffSetting&, const Trace&);
std::optional<Story> tell_freeze(const FreezeSetting&, const Trace&);

std::optional<Story> tell(const Entry& entry, const Trace& trace) {
    const auto* hints = std::get_if<HintSetting>(&entry.setting);
    const auto* freeze = std::get_if<FreezeSetting>(&entry.setting);
    auto story = hints    ? tell_hints(*hints, trace)
                 : freeze ? tell_freeze(*freeze, trace)
                          : tell_hand_off(std::get<HandOffSetting>(entry.setting), trace);
    if (story)
        story->title = entry.name;
    return story;
}

namespace {

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
    std::string out;
    std::size_t column = indent;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        const std::string_view word = text.substr(0, end);
        if (column > indent && column + 1 + word.size() > width) {
            out += '\n' + std::string(indent, ' ');
            column = indent;
        } else if (column > indent) {
            out += ' ';
            ++column;
        }
        out += word;
        column += word.size();
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

} // namespace

std::string in_words(const Story& story) {
    constexpr std::size_t indent = 18;
    constexpr std::size_t width = 110;
    std::string out = fmt::format("{}: {} steps\n\n", story.title, story.steps.size());
    for (std::size_t i = 0; i < story.steps.size(); ++i) {
        const StoryStep& step = story.steps[i];
        out += fmt::format("{} {:>2}. {:<12} {}\n", step.decisive ? '*' : ' ', i + 1, story.parties[step.from],
                           wrapped(step.text, indent, width));
    }
    return out + fmt::format("\n=> {}\n", wrapped(story.end, 3, width));
}

} // namespace aerate::prove
