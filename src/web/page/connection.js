// What goes between the page and the daemon. The token is kept for this tab alone, and sent in a header: there is no
// cookie that another site could have a browser send.

const first_wait = 1000;
const longest_wait = 30000;
const silence = 10000; // the daemon says something each second

export class Unauthorised extends Error {}

let token = sessionStorage.getItem("aerate-token") || "";

export function hasToken() {
  return token !== "";
}

export function setToken(text) {
  token = text.trim();
  sessionStorage.setItem("aerate-token", token);
}

// Takes the token out of the address, so that it is neither in the history nor in what is copied from there.
export function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return false;
  setToken(given);
  history.replaceState(null, "", location.pathname);
  return true;
}

async function request(path, options = {}) {
  const response = await fetch(path, { ...options, cache: "no-store", headers: { Authorization: `Bearer ${token}` } });
  if (response.status === 401) throw new Unauthorised("the daemon does not know this token");
  if (response.ok) return response;
  let words = `the daemon answered ${response.status}`;
  try {
    words = (await response.json()).fault_message || words;
  } catch {
    // It is not in words.
  }
  throw new Error(words);
}

export async function ask(path, options) {
  return (await request(path, options)).json();
}

export function vmPath(name, what) {
  return `host/vms/${encodeURIComponent(name)}/${what}`;
}

// Calls `on.status` for each status, again and again: a stream that breaks is opened anew, after a while that doubles.
export class Stream {
  constructor(on) {
    this.on = on;
    this.wait = first_wait;
    this.timer = 0;
  }

  async open() {
    clearTimeout(this.timer);
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    try {
      this.listen();
      const response = await request("host/events", { signal: abort.signal });
      await this.on.open();
      await this.read(response.body.pipeThrough(new TextDecoderStream()).getReader());
      throw new Error("the daemon has ended");
    } catch (error) {
      clearTimeout(this.watchdog);
      if (this.abort !== abort) return; // another one is open
      if (error instanceof Unauthorised) {
        this.on.unauthorised();
        return;
      }
      const why = abort.signal.aborted ? "it has said nothing for 10 s" : error instanceof TypeError ? "nobody answers" : error.message;
      this.on.gone(why, this.wait);
      this.timer = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(longest_wait, 2 * this.wait);
    }
  }

  listen() {
    clearTimeout(this.watchdog);
    const { abort } = this;
    this.watchdog = setTimeout(() => abort.abort(), silence);
  }

  async read(reader) {
    let pending = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.listen();
      pending += value;
      const end = pending.lastIndexOf("\n\n");
      if (end < 0) continue;
      // Of several that came together the last says all.
      const event = pending.slice(0, end).split("\n\n").at(-1);
      pending = pending.slice(end + 2);
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) {
        this.on.status(JSON.parse(data.slice(6)));
        this.wait = first_wait;
      }
    }
  }
}
