// The table of VMs. Rows are made once and updated in place.
import { byId, drawBar, drawChart, drawLegend, make, makeChart, setAttribute, setText } from "./draw.js";
import { acted, bytes, duration, isSilent, partsOfVm, vmParts } from "./words.js";

const rest_between_moves = 3000; // rows that change places each second cannot be read

export class Table {
  constructor(open) {
    this.open = open;
    this.body = byId("rows");
    this.rows = new Map(); // by VM
    this.key = "name";
    this.descending = false;
    this.sorted = 0;
    this.status = null;
    byId("filter").addEventListener("input", () => this.arrange(true));
    byId("sort").addEventListener("change", (event) => this.sortBy(event.target.value));
    for (const head of document.querySelectorAll("#vms th[data-key]"))
      head.querySelector("button").addEventListener("click", () => this.sortBy(head.dataset.key));
    drawLegend(byId("vm-legend"), vmParts.map(({ key, label }) => ({ key, label })));
    this.showOrder();
  }

  sortBy(key) {
    this.descending = this.key === key ? !this.descending : key !== "name";
    this.key = key;
    byId("sort").value = key;
    this.showOrder();
    this.arrange(true);
  }

  showOrder() {
    for (const head of document.querySelectorAll("#vms th[data-key]")) {
      if (head.dataset.key === this.key) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  update(status, history) {
    this.status = status;
    const here = new Set();
    for (const vm of status.vms) {
      here.add(vm.name);
      let row = this.rows.get(vm.name);
      if (!row) {
        row = this.make(vm.name);
        this.rows.set(vm.name, row);
        this.body.append(row.element);
        this.sorted = 0;
      }
      this.fill(row, vm, history);
    }
    for (const [name, row] of this.rows) {
      if (here.has(name)) continue;
      row.element.remove();
      this.rows.delete(name);
    }
    this.arrange(false);
  }

  make(name) {
    const element = make("tr");
    setAttribute(element, "role", "row");
    const cell = (className, label) => {
      const made = make("td", className);
      setAttribute(made, "role", "cell");
      if (label) made.append(make("span", "label", label));
      element.append(made);
      return made;
    };
    const number = (label) => {
      const value = make("span");
      cell("number", label).append(value);
      return value;
    };
    const row = { element };
    const first = cell("");
    const button = make("button", "name", name);
    button.type = "button";
    button.setAttribute("aria-haspopup", "dialog");
    row.state = make("span", "state");
    first.append(button, row.state);
    row.bar = make("div", "bar");
    row.bar.setAttribute("role", "img");
    cell("memory").append(row.bar);
    row.size = number("Size");
    row.resident = number("Resident");
    row.need = number("Need");
    row.balloon = number("Balloon");
    row.chart = makeChart(120, 24);
    row.chart.setAttribute("aria-label", "Resident memory, last ten minutes");
    cell("trend").append(row.chart);
    row.why = make("span");
    cell("why").append(row.why);
    element.addEventListener("click", () => this.open(name, button));
    return row;
  }

  fill(row, vm, history) {
    row.vm = vm;
    const troubled = !vm.answers || vm.state === "Crashed";
    const state = !vm.answers ? "does not answer" : vm.paused_ms > 0 ? `stands still for ${duration(vm.paused_ms)}` : vm.state === "Running" ? "" : vm.state;
    setText(row.state, state);
    row.state.classList.toggle("bad", troubled);
    drawBar(row.bar, partsOfVm(vm), vm.size_bytes, vm.floor_bytes || 0);
    setText(row.size, bytes(vm.size_bytes));
    setText(row.resident, bytes(vm.resident_bytes || 0));
    setText(row.need, isSilent(vm) ? "–" : bytes(vm.need_bytes || 0));
    const moving = (vm.target_bytes || 0) - (vm.balloon_bytes || 0);
    setText(row.balloon, `${bytes(vm.balloon_bytes || 0)}${Math.abs(moving) < 1048576 ? "" : moving > 0 ? " ↑" : " ↓"}`);
    setText(row.why, vm.reason.words);
    row.element.classList.toggle("acted", acted.has(vm.reason.name));
    drawChart(row.chart, history.resident.get(vm.name) || [], history.slots, vm.size_bytes);
  }

  // Puts the rows in order, not under somebody's hand unless they asked for it.
  arrange(asked) {
    if (!this.status) return;
    const wanted = byId("filter").value.trim().toLowerCase();
    let shown = 0;
    for (const { element, vm } of this.rows.values()) {
      const fits = !wanted || vm.name.toLowerCase().includes(wanted) || vm.reason.words.toLowerCase().includes(wanted) || vm.reason.name.includes(wanted);
      if (element.hidden === fits) element.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    const all = this.rows.size;
    setText(byId("count"), shown === all ? String(all) : `${shown} of ${all}`);
    byId("empty").hidden = shown > 0;
    setText(byId("empty"), all === 0 ? "No VM runs on this host." : "No VM has that in its name or reason.");
    const touched = this.body.matches(":hover") || this.body.contains(document.activeElement);
    if (!asked && (touched || Date.now() - this.sorted < rest_between_moves)) return;
    this.sorted = Date.now();
    const value = ({ vm }) => (this.key === "name" ? vm.name : vm[`${this.key}_bytes`] || 0);
    const sign = this.descending ? -1 : 1;
    const order = [...this.rows.values()].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      const difference = this.key === "name" ? left.localeCompare(right, undefined, { numeric: true }) : left - right;
      return sign * difference || a.vm.name.localeCompare(b.vm.name);
    });
    order.forEach(({ element }, index) => {
      if (this.body.children[index] !== element) this.body.insertBefore(element, this.body.children[index] || null);
    });
  }
}
