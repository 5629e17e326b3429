// Bars, legends and charts. Text from outside becomes text only, and what is the same is not touched: 200 rows a second
// cost a few milliseconds.
import { bytes, percent } from "./words.js";

export const byId = (id) => document.getElementById(id);

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Says the text to those who listen to the page.
export function say(text) {
  setText(byId("said"), text);
}

export function describeParts(parts) {
  return parts.filter((part) => part.bytes > 0).map((part) => `${part.label} ${bytes(part.bytes)}`).join(", ");
}

export function drawBar(bar, parts, whole, floor) {
  for (const part of parts) {
    let piece = bar.querySelector(`:scope > .${part.key}`);
    if (!piece) {
      piece = make("i", part.key);
      bar.append(piece);
    }
    const width = whole > 0 ? `${((100 * part.bytes) / whole).toFixed(2)}%` : "0%";
    if (piece.dataset.width !== width) {
      piece.dataset.width = width;
      piece.style.width = width;
      piece.title = `${part.label} ${bytes(part.bytes)}`;
    }
  }
  if (floor !== undefined) {
    let mark = bar.querySelector(":scope > b");
    if (!mark) {
      mark = make("b");
      bar.append(mark);
    }
    mark.hidden = !(floor > 0) || floor >= whole;
    const left = `${Math.min(100, (100 * floor) / whole).toFixed(2)}%`;
    if (mark.style.left !== left) mark.style.left = left;
    mark.title = `floor ${bytes(floor)}`;
  }
  setAttribute(bar, "aria-label", describeParts(parts) + (floor > 0 ? `; floor ${bytes(floor)}` : ""));
}

// A legend with amounts, or without them if there are none.
export function drawLegend(list, parts, prefix = "", whole = undefined) {
  parts.forEach((part, index) => {
    let item = list.children[index];
    if (!item) {
      item = make("li");
      item.append(make("i"), make("span"), make("strong"));
      list.append(item);
    }
    const [swatch, label, amount] = item.children;
    swatch.className = prefix + part.key;
    setText(label, part.label);
    setText(amount, part.bytes === undefined ? "" : whole === undefined ? bytes(part.bytes) : percent(part.bytes, whole));
    amount.hidden = part.bytes === undefined;
  });
  while (list.children.length > parts.length) list.lastElementChild.remove();
}

export function drawFacts(list, facts) {
  facts.forEach(([term, value, note], index) => {
    let pair = list.children[index];
    if (!pair) {
      pair = make("div");
      const description = make("dd");
      description.append(make("span"), document.createTextNode(" "), make("small"));
      pair.append(make("dt"), description);
      list.append(pair);
    }
    setText(pair.children[0], term);
    setText(pair.children[1].children[0], value);
    setText(pair.children[1].children[1], note || "");
  });
  while (list.children.length > facts.length) list.lastElementChild.remove();
}

// Draws values, newest last, against the right edge of a chart that has room for `slots` of them.
export function drawChart(svg, values, slots, highest, mark) {
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const step = width / Math.max(1, slots - 1);
  const y = (value) => (height - 1 - (height - 2) * Math.min(1, Math.max(0, value / highest))).toFixed(1);
  const left = width - (values.length - 1) * step;
  let line = "";
  values.forEach((value, index) => {
    line += `${index ? "L" : "M"}${(left + index * step).toFixed(1)} ${y(value)}`;
  });
  const [area, stroke, dashes] = svg.children;
  setAttribute(stroke, "d", line);
  setAttribute(area, "d", line ? `${line}L${width} ${height}L${left.toFixed(1)} ${height}Z` : "");
  if (dashes) setAttribute(dashes, "d", mark === undefined ? "" : `M0 ${y(mark)}L${width} ${y(mark)}`);
}

export function makeChart(width, height) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(namespace, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return svg;
}
