// A VM in detail: what it is made of, its map, its last decisions, and what can be done with it.
import { ask, vmPath } from "./connection.js";
import { byId, drawBar, drawFacts, drawLegend, make, setText } from "./draw.js";
import { actions, acted, bytes, cellStates, clock, duration, isSilent, partsOfVm, percent } from "./words.js";

const mib = 1048576;
const map_interval = 2000;
const map_columns = 64;
const cell_pixels = 10;

export class Details {
  constructor(onLost) {
    this.dialog = byId("details");
    this.confirm = byId("confirm");
    this.name = null;
    this.onLost = onLost;
    this.dialog.addEventListener("close", () => this.closed());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog && event.offsetX < 0) this.dialog.close(); // beside it
    });
    byId("details-close").addEventListener("click", () => this.dialog.close());
    for (const button of this.dialog.querySelectorAll("[data-action]"))
      button.addEventListener("click", () => this.askFirst(button.dataset.action));
    byId("confirm-no").addEventListener("click", () => this.confirm.close());
    byId("confirm-form").addEventListener("submit", () => this.act(this.action, Number(byId("amount").value) * mib));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.look());
  }

  open(name, vm, from) {
    this.name = name;
    this.from = from;
    byId("result").hidden = true;
    byId("map-none").hidden = byId("decisions-none").hidden = true;
    byId("map").hidden = true;
    byId("map-legend").replaceChildren();
    byId("decisions").replaceChildren();
    setText(byId("map-cell"), "");
    setText(byId("details-name"), name);
    this.update(vm);
    this.dialog.showModal();
    byId("details-name").focus();
    this.look();
    this.timer = setInterval(() => this.look(), map_interval);
  }

  closed() {
    clearInterval(this.timer);
    this.name = null;
    if (this.from?.isConnected) this.from.focus();
  }

  get isOpen() {
    return this.name !== null;
  }

  update(vm) {
    this.vm = vm;
    if (!vm) {
      setText(byId("details-state"), "is gone from this host");
      return;
    }
    const paused = vm.state === "Paused";
    setText(byId("details-state"), vm.answers ? vm.state : `${vm.state}, and does not answer`);
    setText(byId("details-reason"), vm.reason.words);
    byId("details-reason").classList.toggle("acted", acted.has(vm.reason.name));
    const button = this.dialog.querySelector("[data-action=pause], [data-action=resume]");
    button.dataset.action = paused ? "resume" : "pause";
    setText(button, paused ? "Resume…" : "Pause…");
    drawBar(byId("details-bar"), partsOfVm(vm), vm.size_bytes, vm.floor_bytes || 0);
    const facts = [
      ["Size", bytes(vm.size_bytes), `pid ${vm.pid}`],
      ["Resident", bytes(vm.resident_bytes || 0), percent(vm.resident_bytes || 0, vm.size_bytes)],
      ["Floor", bytes(vm.floor_bytes || 0)],
      ["Need", isSilent(vm) ? "not known" : bytes(vm.need_bytes || 0)],
      ["Guard above it", bytes(vm.guard_bytes || 0)],
      ["Hot cache", bytes(vm.hot_bytes || 0)],
      ["Cold cache", bytes(vm.cold_bytes || 0)],
      ["Idle", bytes(vm.idle_bytes || 0)],
      ["Never given, or given back", bytes(vm.hidden_bytes || 0)],
      ["Balloon", bytes(vm.balloon_bytes || 0), vm.target_bytes === vm.balloon_bytes ? "" : `to be ${bytes(vm.target_bytes || 0)}`],
      ["Shares", String(vm.shares), `priority ${vm.priority}`],
      ["Guest's word", isSilent(vm) ? "none" : `${duration(vm.statistics_age_ms)} old`],
      ["Taken so far", bytes(vm.taken_bytes || 0)],
      ["Given back so far", bytes(vm.given_bytes || 0)],
    ];
    if (vm.held_ms) facts.push(["Left alone for", duration(vm.held_ms)]);
    if (vm.paused_ms) facts.push(["Stands still for", duration(vm.paused_ms)]);
    if (vm.stalled_us !== undefined) facts.push(["Waited for host memory", duration(vm.stalled_us / 1000)]);
    drawFacts(byId("details-facts"), facts);
  }

  // Asks for what only an open view needs.
  async look() {
    const { name } = this;
    if (name === null || this.looking) return;
    this.looking = true;
    const none = (id, words) => {
      if (this.name !== name) return;
      byId(id).hidden = !words;
      setText(byId(id), words);
    };
    await Promise.all([
      ask(vmPath(name, "map")).then((map) => (none("map-none", ""), this.name === name && this.drawMap(map)), (error) => none("map-none", `No map: ${error.message}.`)),
      ask(vmPath(name, "decisions")).then((answer) => this.name === name && this.drawDecisions(answer.decisions), (error) => none("decisions-none", `None: ${error.message}.`)),
    ]);
    this.looking = false;
    if (this.name !== null && this.name !== name) this.look();
  }

  drawMap(map) {
    const canvas = byId("map");
    const cells = [...map.cells];
    const rows = Math.max(1, Math.ceil(cells.length / map_columns));
    canvas.hidden = false;
    canvas.width = map_columns * cell_pixels;
    canvas.height = rows * cell_pixels;
    const styles = getComputedStyle(document.documentElement);
    const colours = new Map(Object.entries(cellStates).map(([letter, { key }]) => [letter, styles.getPropertyValue(key === "ballooned" ? "--balloon" : `--${key}`).trim()]));
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const counts = new Map();
    cells.forEach((letter, index) => {
      const known = colours.has(letter) ? letter : ".";
      counts.set(known, (counts.get(known) || 0) + 1);
      pen.fillStyle = colours.get(known);
      pen.fillRect((index % map_columns) * cell_pixels, Math.floor(index / map_columns) * cell_pixels, cell_pixels - 1, cell_pixels - 1);
    });
    const parts = Object.entries(cellStates).map(([letter, state]) => ({ ...state, bytes: counts.get(letter) || 0 }));
    drawLegend(byId("map-legend"), parts, "m-", cells.length);
    canvas.setAttribute("aria-label", `Memory map: ${parts.filter((part) => part.bytes).map((part) => `${percent(part.bytes, cells.length)} ${part.label}`).join(", ")}`);
    setText(byId("map-cell"), `${cells.length} cells of ${bytes(map.cell_bytes)}, from the lowest address on`);
  }

  drawDecisions(decisions) {
    const key = JSON.stringify([decisions.length, decisions.at(-1)]);
    byId("decisions-none").hidden = decisions.length > 0;
    setText(byId("decisions-none"), "None so far.");
    if (key === this.drawn && byId("decisions").children.length === decisions.length) return;
    this.drawn = key;
    byId("decisions").replaceChildren(...[...decisions].reverse().map((decision) => {
      const row = make("tr");
      const change = decision.target_bytes - (decision.target_before_bytes ?? decision.target_bytes);
      const times = decision.times > 1 ? ` (${decision.times}×, until ${clock(decision.last_ms)})` : "";
      row.setAttribute("role", "row");
      row.append(
        make("td", "", clock(decision.now_ms)),
        make("td", "", decision.level),
        make("td", "number", change === 0 ? bytes(decision.target_bytes) : `${change > 0 ? "+" : "−"}${bytes(Math.abs(change))} → ${bytes(decision.target_bytes)}`),
        make("td", "", decision.reason.words + times),
      );
      for (const cell of row.children) cell.setAttribute("role", "cell");
      return row;
    }));
  }

  askFirst(action) {
    if (!this.vm) return;
    this.action = action;
    const { title, text } = actions[action];
    const isBalloon = action === "balloon";
    setText(byId("confirm-title"), `${title} ${this.name}?`);
    setText(byId("confirm-text"), text);
    setText(byId("confirm-yes"), isBalloon ? "Set the balloon" : title);
    byId("confirm-amount").hidden = !isBalloon;
    const most = Math.floor((this.vm.size_bytes - (this.vm.floor_bytes || 0)) / mib);
    const amount = byId("amount");
    amount.disabled = !isBalloon;
    amount.required = isBalloon;
    amount.max = String(most);
    amount.value = String(Math.round((this.vm.balloon_bytes || 0) / mib));
    setText(byId("amount-hint"), `0 to ${most}: the rest is its floor`);
    this.confirm.showModal();
    (isBalloon ? amount : byId("confirm-no")).focus();
  }

  async act(action, target) {
    const { name } = this;
    if (name === null) return;
    const { method } = actions[action];
    this.tell(`${actions[action].title} ${name}: under way…`, false);
    try {
      const body = action === "balloon" ? JSON.stringify({ target_bytes: target }) : undefined;
      const answer = await ask(vmPath(name, action), { method, body });
      if (this.name === name) this.tell(answer.words, false);
    } catch (error) {
      if (this.name === name) this.tell(`Not done: ${error.message.replace(/\.$/, "")}.`, true);
      this.onLost(error);
    }
    this.look();
  }

  tell(words, bad) {
    const result = byId("result");
    result.hidden = false;
    result.classList.toggle("bad", bad);
    setText(result, words);
  }
}
