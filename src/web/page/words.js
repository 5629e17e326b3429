// What numbers and words mean, for people.

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function percent(part, whole) {
  if (!(whole > 0)) return "0 %";
  const value = (100 * part) / whole;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export const levels = {
  plenty: "There is enough: balloons go down.",
  tight: "Nothing is taken; guests that miss their cache get memory back.",
  shortage: "The host is short: memory that guests can spare is taken.",
  critical: "The host is about to run out: cache in use is taken too, and the fastest may stand still.",
};

// What a VM's memory is made of, in the order of its bar. Numbers come from guests and may not add up: the bar ends at
// the VM's size.
export const vmParts = [
  { key: "need", label: "need", of: (vm) => vm.need_bytes },
  { key: "guard", label: "guard", of: (vm) => vm.guard_bytes },
  { key: "hot", label: "hot cache", of: (vm) => vm.hot_bytes },
  { key: "cold", label: "cold cache", of: (vm) => vm.cold_bytes },
  { key: "idle", label: "idle", of: (vm) => vm.idle_bytes },
  { key: "silent", label: "resident, guest silent", of: (vm) => (isSilent(vm) ? vm.resident_bytes : 0) },
  { key: "hidden", label: "not given", of: null },
  { key: "balloon", label: "balloon", of: (vm) => vm.balloon_bytes },
];

export function isSilent(vm) {
  return vm.statistics_age_ms === undefined || vm.statistics_age_ms === null;
}

export function partsOfVm(vm) {
  const balloon = Math.min(vm.balloon_bytes || 0, vm.size_bytes);
  let room = vm.size_bytes - balloon;
  return vmParts.map(({ key, label, of }) => {
    if (key === "balloon") return { key, label, bytes: balloon };
    if (isSilent(vm) && key !== "silent" && key !== "hidden") return { key, label, bytes: 0 };
    const part = of === null ? room : Math.min(of(vm) || 0, room);
    room -= part;
    return { key, label, bytes: part };
  });
}

export function partsOfHost(host) {
  const resident = host.resident_bytes || 0;
  const monitors = host.monitors_bytes || 0;
  const reserve = Math.min(host.reserve_bytes, host.available_bytes);
  return [
    { key: "need", label: "VMs", bytes: resident },
    { key: "monitors", label: "their monitors", bytes: monitors },
    { key: "other", label: "other programs", bytes: Math.max(0, host.total_bytes - host.available_bytes - resident - monitors) },
    { key: "free", label: "available", bytes: host.available_bytes - reserve },
    { key: "reserve", label: "reserve, kept for the host", bytes: reserve },
  ];
}

// The states of a memory map's cells, by letter.
export const cellStates = {
  r: { key: "resident", label: "resident" },
  d: { key: "dirty", label: "dirty" },
  s: { key: "shared", label: "shared with its snapshot" },
  b: { key: "ballooned", label: "in the balloon" },
  p: { key: "reported", label: "reported free" },
  h: { key: "hinted", label: "hinted free" },
  ".": { key: "absent", label: "absent" },
};

// Reasons that moved memory.
export const acted = new Set(["idle_taken", "cache_taken", "given_back", "distress", "below_guard", "missing_cache"]);

// What the buttons do. Each has to be confirmed.
export const actions = {
  sweep: {
    title: "Sweep", method: "POST",
    text: "The guest says which of its pages are free, and the host takes those back. The guest runs on and loses nothing.",
  },
  squeeze: {
    title: "Squeeze", method: "POST",
    text: "The balloon takes what the guest can spare, its file cache too, and goes back to where it was. The host gains that memory; the guest may have to read files again.",
  },
  balloon: {
    title: "Set the balloon of", method: "PUT",
    text: "The guest loses what the balloon gains. The policy goes on deciding, and may move it again at its next look.",
  },
  pause: { title: "Pause", method: "POST", text: "The guest stands still, with all of its connections, until it is resumed." },
  resume: { title: "Resume", method: "POST", text: "The guest runs on where it stood still." },
};
