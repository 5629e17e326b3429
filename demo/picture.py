#!/usr/bin/env python3
"""Turns the demo's samples into a table, a picture (SVG) and, with --json, one line of figures."""
import argparse
import json

WIDTH, HEIGHT, LEFT, TOP, GAP, BOTTOM = 1120, 514, 64, 128, 56, 66
LABEL, LABEL_ROWS = 66, 4  # the width of an event's label; the story has four events
BLUE, ORANGE, GREY = "#2a6fb0", "#d1602a", "#777"


def panel(run, x, width, top_mib, seconds, budget):
    height = HEIGHT - TOP - BOTTOM
    begin = run["samples"][0][0]

    def at(time, mib):
        return f"{x + (time - begin) / seconds * width:.1f},{TOP + height - mib / top_mib * height:.1f}"

    title = "free page reporting on" if run["reporting"] else "free page reporting off"
    parts = [f'<text x="{x}" y="{TOP - 58}" class="title">{title}</text>']
    for mib in range(0, top_mib + 1, 200):
        y = TOP + height - mib / top_mib * height
        parts.append(f'<line x1="{x}" x2="{x + width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        if x == LEFT:
            parts.append(f'<text x="{x - 8}" y="{y + 4:.1f}" class="tick" text-anchor="end">{mib}</text>')
    for second in range(0, int(seconds) + 1, 10):
        parts.append(f'<text x="{x + second / seconds * width:.1f}" y="{TOP + height + 18}" class="tick" text-anchor="middle">{second}</text>')
    used = [at(row[0], row[1]) for row in run["samples"]]
    last = run["samples"][-1][0]
    parts.append(f'<polygon points="{at(begin, 0)} {" ".join(used)} {at(last, 0)}" fill="{BLUE}" fill-opacity="0.22"/>')
    parts.append(f'<polyline points="{" ".join(used)}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>')
    parts.append(f'<polyline points="{" ".join(at(row[0], row[2]) for row in run["samples"])}" fill="none" stroke="{ORANGE}" stroke-width="2.5"/>')
    y = at(begin, budget).split(",")[1]
    parts.append(f'<line x1="{x}" x2="{x + width}" y1="{y}" y2="{y}" stroke="{GREY}" stroke-dasharray="6 4"/>')
    parts.append(f'<text x="{x + 4}" y="{float(y) - 6:.1f}" class="tick">budget {budget} MiB</text>')
    labelled_to = [0.0] * LABEL_ROWS  # the lowest row first
    for time, text in run["events"]:
        if "writes" in text or "deletes" in text:
            place = float(at(time, 0).split(",")[0])
            label = text.split(" ")[0] + (" fills" if "writes" in text else " frees")
            level = next((level for level, end in enumerate(labelled_to) if place - LABEL / 2 > end), len(labelled_to) - 1)
            labelled_to[level] = place + LABEL / 2
            row = TOP - 6 - 11 * level
            parts.append(f'<line x1="{place}" x2="{place}" y1="{row + 3}" y2="{TOP + height}" class="event"/>')
            parts.append(f'<text x="{place}" y="{row}" class="tick" text-anchor="middle">{label}</text>')
    return parts


def draw(result):
    seconds = max(run["samples"][-1][0] - run["samples"][0][0] for run in result["runs"])
    peak = max(max(row[1], row[2]) for run in result["runs"] for row in run["samples"])
    top_mib = max(int(peak / 200 + 1) * 200, 1200)
    width = (WIDTH - LEFT - GAP - 20) / 2
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
             "<style>text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:15px}.head{font-size:18px;font-weight:bold}"
             ".tick{font-size:11px;fill:#666;paint-order:stroke;stroke:white;stroke-width:3px}.grid{stroke:#e4e4e4}.event{stroke:#bbb;stroke-dasharray:2 3}</style>",
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="30" class="head">Two guests of {result["guest_mib"]} MiB, Debian kernel {result["runs"][0]["kernel"]}</text>']
    for index, run in enumerate(result["runs"]):
        parts += panel(run, LEFT + index * (width + GAP), width, top_mib, seconds, result["budget_mib"])
    y = HEIGHT - 22
    parts += [f'<rect x="{LEFT}" y="{y - 11}" width="24" height="12" fill="{BLUE}" fill-opacity="0.3"/><text x="{LEFT + 32}" y="{y}">in use by the guests, MiB</text>',
              f'<line x1="{LEFT + 240}" x2="{LEFT + 264}" y1="{y - 5}" y2="{y - 5}" stroke="{ORANGE}" stroke-width="3"/>'
              f'<text x="{LEFT + 272}" y="{y}">resident on the host, MiB</text>',
              f'<text x="{WIDTH - 20}" y="{y}" text-anchor="end" class="tick">seconds · engine: {result["engine"]}</text>', "</svg>"]
    return "\n".join(parts)


def settled(run):
    if run["settle_seconds"] is not None:
        return f"{run['settle_seconds']:.1f}"
    return f"over {run['settle_limit']}" if run["reporting"] else "never"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples")
    parser.add_argument("--svg", required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with open(arguments.samples, encoding="ascii") as file:
        result = json.load(file)
    with open(arguments.svg, "w", encoding="utf-8") as file:
        file.write(draw(result))
    with_reporting, without = result["runs"]
    if arguments.json:
        seconds = with_reporting["settle_seconds"]
        print(json.dumps({"engine": result["engine"], "kernel": with_reporting["kernel"], "guests": result["guests"], "fill_mib": result["fill_mib"],
                          "guest_used_mib": round(with_reporting["guest_used_mib"], 1), "resident_peak_mib": round(with_reporting["resident_peak_mib"], 1),
                          "resident_after_mib": round(with_reporting["resident_after_mib"], 1),
                          "resident_after_without_reporting_mib": round(without["resident_after_mib"], 1),
                          "settle_seconds": None if seconds is None else round(seconds, 1)}))
        return
    rows = [("MiB over both guests", "reporting on", "reporting off"),
            ("in use by the guests, at the end", *(f"{run['guest_used_mib']:.0f}" for run in result["runs"])),
            ("resident on the host, peak", *(f"{run['resident_peak_mib']:.0f}" for run in result["runs"])),
            ("resident on the host, at the end", *(f"{run['resident_after_mib']:.0f}" for run in result["runs"])),
            ("seconds from free to given back", *(settled(run) for run in result["runs"]))]
    print()
    for index, (label, left, right) in enumerate(rows):
        print(f"  {label:36} {left:>13} {right:>14}")
        if index == 0:
            print("  " + "-" * 65)


if __name__ == "__main__":
    main()
