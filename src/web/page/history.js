// The last ten minutes: as the daemon kept them, and then as they come in.
const mib = 1048576;
const span = 600000;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.interval = 5000;
    this.last = 0;
    this.available = [];
    this.some = [];
    this.resident = new Map(); // by VM
  }

  get slots() {
    return Math.max(2, Math.round(span / this.interval));
  }

  // Takes what GET /host/history answers.
  take(history) {
    this.clear();
    if (history.interval_ms > 0) this.interval = history.interval_ms;
    this.last = history.now_ms || 0;
    this.available = (history.available_mib || []).map((value) => value * mib);
    this.some = [...(history.some_permille || [])];
    const points = this.available.length;
    for (const vm of history.vms || []) {
      // One that has gone ends before the others.
      if (vm.end === undefined || vm.end >= points) this.resident.set(vm.name, (vm.resident_mib || []).map((value) => value * mib));
    }
  }

  add(status) {
    // The newest value stands for the interval that has begun.
    const begins = status.now_ms - this.last >= this.interval || this.available.length === 0;
    if (begins) this.last = status.now_ms;
    const put = (list, value) => {
      if (begins || list.length === 0) list.push(value);
      else list[list.length - 1] = value;
      if (list.length > this.slots) list.splice(0, list.length - this.slots);
    };
    put(this.available, status.host.available_bytes);
    put(this.some, status.host.some_permille || 0);
    const here = new Set();
    for (const vm of status.vms) {
      here.add(vm.name);
      if (!this.resident.has(vm.name)) this.resident.set(vm.name, []);
      put(this.resident.get(vm.name), vm.resident_bytes || 0);
    }
    for (const name of this.resident.keys()) if (!here.has(name)) this.resident.delete(name);
  }
}
