// Puts the page together: who is asked for what, and what is shown when there is no answer.
import { Stream, Unauthorised, ask, hasToken, setToken, takeTokenFromAddress } from "./connection.js";
import { Details } from "./details.js";
import { byId, drawBar, drawChart, drawFacts, drawLegend, say, setText } from "./draw.js";
import { History } from "./history.js";
import { Table } from "./table.js";
import { bytes, clock, levels, partsOfHost, percent } from "./words.js";

const history = new History();
const details = new Details((error) => error instanceof Unauthorised && wantToken(true));
const table = new Table((name, from) => details.open(name, latest.vms.find((vm) => vm.name === name), from));
let latest = null;
let level = "";
let wasGone = false;
let countdown = 0;

const stream = new Stream({
  async open() {
    history.take(await ask("host/history"));
  },
  status(status) {
    showConnected();
    latest = status;
    history.add(status);
    show(status);
  },
  unauthorised: () => wantToken(true),
  gone: showGone,
});

function show(status) {
  byId("host").hidden = byId("vms").hidden = false;
  byId("dry").hidden = !status.dry_run;
  showLevel(status.host.level);
  setText(byId("clock"), clock(status.now_ms));
  showHost(status);
  table.update(status, history);
  if (details.isOpen) details.update(status.vms.find((vm) => vm.name === details.name));
}

function showLevel(name) {
  const badge = byId("level");
  badge.hidden = false;
  if (name === level) return;
  badge.className = `level ${name in levels ? name : ""}`;
  setText(byId("level-word"), name);
  setText(byId("level-meaning"), levels[name] || "");
  if (level) say(`The host's level is now ${name}. ${levels[name] || ""}`);
  level = name;
  document.title = name === "plenty" ? "Aerate host" : `${name} – Aerate host`;
}

function showHost({ host }) {
  const parts = partsOfHost(host);
  drawBar(byId("host-bar"), parts, host.total_bytes);
  drawLegend(byId("host-legend"), parts);
  const above = host.available_bytes - host.reserve_bytes;
  const pressure = (permille) => `${((permille || 0) / 10).toFixed(1)} %`;
  const facts = [
    ["Total", bytes(host.total_bytes)],
    ["Above the reserve", above >= 0 ? bytes(above) : `−${bytes(-above)}`, percent(Math.max(0, above), host.total_bytes)],
    ["Promised to VMs", bytes(host.promised_bytes || 0), `${((host.promised_bytes || 0) / host.total_bytes).toFixed(2)} × the host`],
    ["Needed by VMs", bytes(host.needs_bytes || 0)],
    ["Floors", bytes(host.floors_bytes || 0)],
    ["Reserved for arrivals", bytes(host.reserved_bytes || 0)],
    ["Pressure, some", pressure(host.some_permille)],
    ["Pressure, all", pressure(host.full_permille)],
    ["Swap in use", bytes((host.swap_total_bytes || 0) - (host.swap_free_bytes || 0)), `of ${bytes(host.swap_total_bytes || 0)}`],
  ];
  drawFacts(byId("host-facts"), facts);
  setText(byId("available-now"), bytes(host.available_bytes));
  setText(byId("pressure-now"), pressure(host.some_permille));
  drawChart(byId("available-chart"), history.available, history.slots, 1.2 * Math.max(host.reserve_bytes, ...history.available), host.reserve_bytes);
  drawChart(byId("pressure-chart"), history.some, history.slots, Math.max(200, ...history.some), 100);
}

function showConnected() {
  clearInterval(countdown);
  byId("gone").hidden = true;
  byId("token-form").hidden = true;
  document.body.classList.remove("stale");
  if (wasGone) say("The daemon answers again.");
  wasGone = false;
}

function showGone(why, wait) {
  clearInterval(countdown);
  let left = Math.round(wait / 1000);
  const tell = () => setText(byId("gone-when"), left > 0 ? `Trying again in ${left} s.` : "Trying again…");
  setText(byId("gone-what"), `${latest ? `Nothing new since ${clock(latest.now_ms)}` : "The daemon is not there"}: ${why}.`);
  tell();
  countdown = setInterval(() => {
    left -= 1;
    tell();
  }, 1000);
  byId("gone").hidden = false;
  document.body.classList.add("stale");
  if (!wasGone) say("The daemon is gone. The page tries to reach it again.");
  wasGone = true;
}

function wantToken(wrong) {
  if (details.isOpen) byId("details").close();
  clearInterval(countdown);
  byId("gone").hidden = true;
  byId("host").hidden = byId("vms").hidden = true;
  byId("token-form").hidden = false;
  byId("token-wrong").hidden = !wrong;
  document.body.classList.remove("stale");
  byId("token").focus();
}

byId("retry").addEventListener("click", () => stream.open());
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value);
  byId("token").value = "";
  stream.open();
});
addEventListener("hashchange", () => takeTokenFromAddress() && stream.open());

takeTokenFromAddress();
if (hasToken()) stream.open();
else wantToken(false);
