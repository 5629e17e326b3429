#include "prove/diagram.hpp"

#include <fmt/format.h>

namespace aerate::prove {
namespace {

constexpr unsigned lane_width = 190;
constexpr unsigned margin = 90;
constexpr unsigned top = 78;
constexpr unsigned row = 34;

constexpr std::string_view ordinary = "#334155";
constexpr std::string_view decisive = "#c2410c";

unsigned x_of(unsigned party) {
    return margin + party * lane_width;
}

std::string text(unsigned x, unsigned y, std::string_view content, std::string_view attributes = "") {
    return fmt::format("<text x=\"{}\" y=\"{}\" {}>{}</text>\n", x, y, attributes, content);
}

std::string arrow(const StoryStep& step, unsigned y) {
    const std::string_view colour = step.decisive ? decisive : ordinary;
    const unsigned from = x_of(step.from);
    if (step.from == step.to)
        return fmt::format("<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{}\"/>\n", from - 5,
                           y - 5, colour);
    const bool rightwards = step.to > step.from;
    const unsigned to = rightwards ? x_of(step.to) - 2 : x_of(step.to) + 2;
    const unsigned back = rightwards ? to - 8 : to + 8;
    return fmt::format(
        "<path d=\"M{0} {1}H{2}M{3} {4}L{2} {1}L{3} {5}\" stroke=\"{6}\" stroke-width=\"1.6\" fill=\"none\"/>\n", from,
        y, to, back, y - 4, y + 4, colour);
}

} // namespace

std::string as_svg(const Story& story) {
    const unsigned lanes = x_of(static_cast<unsigned>(story.parties.size()) - 1) + margin;
    const unsigned width = lanes + 40;
    const unsigned bottom = top + static_cast<unsigned>(story.steps.size()) * row + 10;
    std::string svg = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        width, bottom + 50);
    svg += text(16, 26, story.title, "font-size=\"16\" font-weight=\"bold\"");
    for (unsigned party = 0; party < story.parties.size(); ++party) {
        svg += text(x_of(party), 56, story.parties[party], "text-anchor=\"middle\" font-weight=\"bold\"");
        svg += fmt::format("<path d=\"M{0} 64V{1}\" stroke=\"#cbd5e1\" stroke-width=\"1.5\"/>\n", x_of(party), bottom);
    }
    for (std::size_t i = 0; i < story.steps.size(); ++i) {
        const StoryStep& step = story.steps[i];
        const unsigned y = top + static_cast<unsigned>(i) * row + 14;
        const std::string_view colour = step.decisive ? decisive : ordinary;
        svg += text(10, y + 4, std::to_string(i + 1), "fill=\"#94a3b8\"");
        svg += arrow(step, y);
        const bool there = step.from == step.to;
        const unsigned left = std::min(x_of(step.from), x_of(step.to));
        svg += fmt::format("<g fill=\"{}\"><title>{}</title>{}</g>\n", colour, step.text,
                           text(left + 12, there ? y + 4 : y - 5, step.label));
    }
    svg += text(16, bottom + 28, "=&gt; " + story.end, fmt::format("font-weight=\"bold\" fill=\"{}\"", decisive));
    return svg + "</svg>\n";
}

} // namespace aerate::prove
