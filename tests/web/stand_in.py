#!/usr/bin/env python3
"""Stands in for "aerate host --listen", so that its page can be worked on and tested without VMs: the same paths and the same JSON, made up.

    tests/web/stand_in.py [--port 9470] [--vms 20] [--token TOKEN] [--dry-run] [--level LEVEL] [--hostile]
"""
import argparse
import json
import math
import pathlib
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "src/web/page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
MIB, GIB = 1 << 20, 1 << 30
LEVELS = ("plenty", "tight", "shortage", "critical")
REASONS = {
    "kept": "nothing is to be changed",
    "idle_taken": "took 192 MiB that it does not use: the host is 1.4 GiB short, and it has the most to spare for its shares",
    "cache_taken": "took 64 MiB of file cache that it has not missed: the host is short",
    "given_back": "gave 48 MiB back: the host has plenty",
    "stopped": "the host is no longer short: the balloon stops where it is",
    "distress": "the guest ran out of memory: gave 512 MiB back at once",
    "below_guard": "the guest has 31 MiB available, less than half of its guard: gave 160 MiB back at once",
    "missing_cache": "the guest reads 14 MiB/s again that it had cached: gave 28 MiB back",
    "stuck": "the guest finds no more memory to give: asks no further",
    "in_hold": "was asked for too much 8 s ago: leaves it alone for 32 s more",
    "stale": "the guest's statistics are 9 s old: takes nothing",
    "no_word": "the guest reports no statistics: takes nothing",
    "at_floor": "the guest is at the floor of 1 GiB that was configured",
    "nothing_to_take": "the guest needs all that it has",
}
HOSTILE = ['<img src=x onerror="window.hacked=1">', '"><script>window.hacked=1</script>', "a" * 64, "\u202egnp.exe", "__proto__", "constructor"]


class World:
    def __init__(self, options):
        self.options, self.lock, self.tick = options, threading.Lock(), 0
        chance = random.Random(7)
        kinds = ("web", "db", "build", "cache", "mail", "jvm", "cron", "test")
        names = [f"{kinds[index % len(kinds)]}{index // len(kinds) + 1}" for index in range(options.vms)]
        if options.hostile:
            names[: len(HOSTILE)] = HOSTILE[: len(names)]
        self.vms = []
        for index, name in enumerate(sorted(names)):
            size = chance.choice((1, 2, 2, 4, 4, 8)) * GIB
            self.vms.append({"name": name, "pid": 4000 + index, "size": size, "floor": size // 4, "phase": chance.random() * 6.3, "need": 0.2 + 0.3 * chance.random(),
                             "silent": index % 13 == 5, "state": "Running", "balloon": 0 if index % 3 else size // 5, "reason": list(REASONS)[index % len(REASONS)], "taken": 0, "given": 0})
        self.points = [self.status(back) for back in range(120, 0, -1)]

    def level(self):
        return self.options.level if self.options.level in LEVELS else LEVELS[self.tick // 8 % 4]

    def vm(self, vm, now, level):
        size, balloon = vm["size"], vm["balloon"]
        wave = 0.5 + 0.5 * math.sin(now / 40 + vm["phase"])
        has = size - balloon
        said = not vm["silent"]
        need = int(size * vm["need"] * (0.7 + 0.3 * wave))
        guard, hot = max(64 * MIB, size // 64), int(has * 0.06)
        cold, idle = int((has - need - guard) * 0.35 * wave), int(size * 0.05)
        hidden = max(0, has - need - guard - hot - cold - idle)
        reason = "no_word" if vm["silent"] else vm["reason"]
        status = {"name": vm["name"], "pid": vm["pid"], "state": vm["state"], "answers": vm["pid"] % 41 != 3, "size_bytes": size, "floor_bytes": vm["floor"], "shares": 1000, "priority": 5,
                  "resident_bytes": need + guard + hot + cold + idle, "need_bytes": need * said, "guard_bytes": guard * said, "hot_bytes": hot * said, "cold_bytes": cold * said, "idle_bytes": idle * said,
                  "hidden_bytes": hidden * said, "balloon_bytes": balloon, "target_bytes": balloon + (64 * MIB if reason == "idle_taken" else 0), "reason": {"name": reason, "words": REASONS[reason]},
                  "taken_bytes": vm["taken"] + 640 * MIB, "given_bytes": vm["given"] + 256 * MIB}
        if self.options.hostile and vm["name"] in HOSTILE:
            status["reason"]["words"] = f"as {vm['name']} wants it"
        if said:
            status["statistics_age_ms"] = 400 + vm["pid"] * 37 % 900
        if reason == "in_hold":
            status["held_ms"] = 32000
        if level == "critical" and vm["pid"] % 17 == 0:
            status["paused_ms"] = 4200
        return status

    def status(self, back=0):
        now, level = time.time() - 5 * back, self.level()
        vms = [self.vm(vm, now, level) for vm in self.vms]
        resident, promised = sum(vm["resident_bytes"] for vm in vms), sum(vm["size_bytes"] for vm in vms)
        above = {"plenty": 0.14, "tight": 0.045, "shortage": 0.02, "critical": -0.004}[level] + 0.01 * math.sin(now / 30)
        total = int((resident * 1.09 + GIB) / (0.98 - above))
        reserve = max(512 * MIB, total // 50)
        some = {"plenty": 2, "tight": 18, "shortage": 95, "critical": 240}[level] + int(10 * (1 + math.sin(now / 7)))
        return {"now_ms": int(now * 1000), "dry_run": self.options.dry_run, "vms": vms, "host": {
            "total_bytes": total, "available_bytes": max(0, int(total * above) + reserve), "reserve_bytes": reserve, "swap_total_bytes": 4 * GIB, "swap_free_bytes": 4 * GIB - 300 * MIB,
            "resident_bytes": resident, "monitors_bytes": len(vms) * 9 * MIB, "promised_bytes": promised, "floors_bytes": sum(vm["floor_bytes"] for vm in vms),
            "needs_bytes": sum(vm["need_bytes"] for vm in vms), "reserved_bytes": 0, "level": level, "some_permille": some, "full_permille": some // 6, "some_total_us": 123456789, "full_total_us": 2345678}}

    def history(self):
        points = self.points
        return {"now_ms": points[-1]["now_ms"], "interval_ms": 5000, "available_mib": [point["host"]["available_bytes"] // MIB for point in points], "resident_mib": [point["host"]["resident_bytes"] // MIB for point in points],
                "some_permille": [point["host"]["some_permille"] for point in points], "level": [LEVELS.index(point["host"]["level"]) for point in points],
                "vms": [{"name": vm["name"], "end": len(points), "resident_mib": [point["vms"][index]["resident_bytes"] // MIB for point in points],
                         "need_mib": [point["vms"][index]["need_bytes"] // MIB for point in points], "balloon_mib": [0] * len(points)} for index, vm in enumerate(self.vms)]}

    def decisions(self, vm):
        now = int(time.time() * 1000)
        return {"decisions": [{"now_ms": now - 7000 * (len(REASONS) - index), "last_ms": now - 7000 * (len(REASONS) - index) + 4000, "times": 1 + index % 5, "level": LEVELS[index % 4],
                               "target_before_bytes": vm["balloon"], "target_bytes": max(0, vm["balloon"] + (64, 0, -32)[index % 3] * MIB), "reason": {"name": name, "words": words}}
                              for index, (name, words) in enumerate(REASONS.items())]}

    def map(self, vm):
        chance = random.Random(vm["pid"] + self.tick)
        letters = "".join(chance.choice("rrrrrrrr" if index % 97 < 60 else "rd" if index % 97 < 68 else "b" if index % 97 < 80 else "ph.s") for index in range(1024))
        return {"cell_bytes": vm["size"] // 1024, "cells": letters}

    def act(self, vm, verb, body):
        if verb == "balloon":
            target = json.loads(body)["target_bytes"]
            if target > vm["size"] - vm["floor"]:
                return 400, {"fault_message": "the balloon would take the guest below its floor"}
            vm["balloon"] = target
            return 200, {"words": f"{vm['name']}: the balloon was asked to be {target // MIB} MiB"}
        if verb in ("pause", "resume"):
            vm["state"] = "Paused" if verb == "pause" else "Running"
            return 200, {"words": f"{vm['name']} {'stands still' if verb == 'pause' else 'runs again'}"}
        if verb in ("sweep", "squeeze"):
            return 200, {"words": f"{vm['name']}: {verb} gave 312 MiB back to the host"}
        return 404, {"fault_message": "there is nothing at this path"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content, kind="application/json"):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store"),
                            ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        world, name = self.server.world, self.path.lstrip("/") or "index.html"
        if (PAGE / name).is_file() and "/" not in name:
            return self.answer(200, (PAGE / name).read_bytes(), TYPES[(PAGE / name).suffix])
        self.handle_secret(lambda: {"/host/status": world.status, "/host/history": world.history}[self.path]())

    def do_POST(self):
        self.handle_secret(lambda: {}[self.path])

    do_PUT = do_POST

    def handle_secret(self, fixed):
        world = self.server.world
        if self.server.ended:
            self.close_connection = True
            return None
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {world.options.token}":
            return self.answer(401, {"fault_message": "the token is missing or wrong"})
        if self.path == "/host/events":
            return self.events(world)
        parts = self.path.split("/")
        if len(parts) == 5 and parts[:3] == ["", "host", "vms"]:
            vm = next((vm for vm in world.vms if vm["name"] == unquote(parts[3])), None)
            if vm is None:
                return self.answer(404, {"fault_message": "there is no such VM"})
            if self.command == "GET":
                return self.answer(200, {"map": world.map, "decisions": world.decisions}[parts[4]](vm))
            return self.answer(*world.act(vm, parts[4], body))
        try:
            self.answer(200, fixed())
        except KeyError:
            self.answer(404, {"fault_message": "there is nothing at this path"})

    def events(self, world):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while not self.server.ended:
                self.wfile.write(f"event: status\ndata: {json.dumps(world.status())}\n\n".encode())
                world.tick += 1
                time.sleep(1)
        except OSError:
            pass


def serve(options):
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads, server.world, server.ended = True, World(options), False
    return server


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9470)
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--token", default="0123456789abcdef0123456789abcdef")
    parser.add_argument("--level", choices=("all", *LEVELS), default="all", help="all: each of them in turn")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--hostile", action="store_true", help="some VMs have names that no daemon lets through")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = parse()
    made = serve(chosen)
    print(f"http://127.0.0.1:{made.server_address[1]}/#token={chosen.token}")
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
