"""Measures Berth and its peers in one run: measure.py FILE.json, which is rewritten after each part."""

import concurrent.futures
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from servers import BERTH, HELLO, Load, end, free_port, get, listens, start, until
from ways import WAYS

RUNS = int(os.environ.get("RUNS", 10))
INITS = {"tini": ["tini", "-s", "--"], "dumb-init": ["dumb-init"], "catatonit": ["catatonit", "--"]}
MASS, CROWD = 40, 200


def main(path):
    results = {}
    if os.environ.get("ONLY"):
        results = json.loads(pathlib.Path(path).read_text())
    results["machine"] = machine()

    def keep(part, name, value):
        results.setdefault(part, {})[name] = value
        pathlib.Path(path).write_text(json.dumps(results, indent=1) + "\n")
        shown = value if not isinstance(value, (list, dict)) or len(value) < 9 else f"{len(value)} values"
        print(f"{part:<24} {name:<16} {shown}", flush=True)

    keep("size", "Berth", BERTH.stat().st_size)
    keep("size", "bash and socat", sum(binary(name).stat().st_size for name in ("bash", "socat")))
    for name in INITS:
        keep("size", name, binary(name).stat().st_size)
        keep("pss", name, init_pss(INITS[name]))
    for name, time_us in wrapped_true().items():
        keep("start", name, time_us)
    for name, way in WAYS.items():
        if name not in (os.environ.get("ONLY") or name):
            continue
        with way() as site:
            if name in ("Berth", "bash and socat"):
                keep("pss", name, holder_pss(site))
            keep("served", name, median(served(site) for _ in range(RUNS)))
            keep("out", name, median(left(site) for _ in range(RUNS)))
        with way() as site:
            keep("roll", name, roll(site))
        with way() as site:
            keep("heal", name, heal(site))
        with way() as site:
            keep("lost", name, mass_start(site))
        if name in ("Berth", "bash and socat"):
            with way() as site:
                keep("crowd", name, crowd(site))


def machine():
    """What the figures depend on."""
    versions = [subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout.split()[2].split("-")[0]]
    return {"cores": os.cpu_count(), "kind": platform.machine(), "haproxy": versions[0],
            "date": time.strftime("%Y-%m-%d")}


def binary(name):
    return pathlib.Path(shutil.which(name)).resolve()


def median(values):
    return statistics.median(values)


def pss(pid):
    """Proportional set size in kB (proc(5), smaps_rollup)."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])


def init_pss(words):
    process = start([*words, "sleep", "60"])
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: children.read_text().strip(), "a child")
    time.sleep(0.5)
    value = pss(process.pid)
    end(process)
    return value


def holder_pss(site):
    app = site.start()
    until(lambda: not site.out(app), "in rotation")
    time.sleep(3)
    value = pss(app.pid)
    site.stop(app)
    return value


def wrapped_true():
    """Medians in microseconds, each run next to the others'."""
    ways = {"nothing": [], "Berth": [BERTH, "--"], **INITS}
    times = {name: [] for name in ways}
    for _ in range(RUNS * 30):
        for name, words in ways.items():
            command = [*map(str, words), "/bin/true"]
            file = shutil.which(command[0])
            began = time.perf_counter()
            os.waitpid(os.posix_spawn(file, command, {"PATH": os.environ["PATH"]}), 0)
            times[name].append(time.perf_counter() - began)
    return {name: round(median(values) * 1e6) for name, values in times.items()}


def served(site):
    """Seconds from the app listening to the first request served."""
    app = site.start()
    until(lambda: listens(app.port, app.host), "the app listens")
    began = getattr(app, "listening", time.monotonic())
    until(lambda: get(site.http) is not None, "served")
    took = time.monotonic() - began
    site.stop(app)
    until(lambda: site.rotation() == 0, "empty")
    return took


def left(site):
    """Seconds from the order to stop to out of rotation."""
    app = site.start()
    until(lambda: not site.out(app) and get(site.http) is not None, "in rotation")
    began = time.monotonic()
    site.terminate(app)
    until(lambda: site.out(app), "out of rotation")
    took = time.monotonic() - began
    site.discard(app)
    return took


def roll(site):
    """Four apps replaced twice, one after the other, under load: when which request was answered."""
    apps = [grown(site) for _ in range(4)]
    load = Load(site.http)
    time.sleep(1)
    began = time.monotonic() - load.began
    for _ in range(8):
        apps.append(grown(site))
        site.stop(apps.pop(0))
    ended = time.monotonic() - load.began
    time.sleep(1)
    answers = load.finish()
    for app in apps:
        site.discard(app)
    buckets = {}
    for at, answered in answers:
        bucket = buckets.setdefault(int(at * 5), [0, 0])
        bucket[not answered] += 1
    series = [[at / 5, *buckets[at]] for at in sorted(buckets)]
    failed = sum(not answered for _, answered in answers)
    return {"total": len(answers), "failed": failed, "from": began, "to": ended, "series": series}


def grown(site):
    app = site.start()
    until(lambda: not site.out(app), "in rotation")
    return app


def heal(site):
    """Seconds from the load balancer listening again to all four apps served; None: not in 15 s."""
    apps = [grown(site) for _ in range(4)]
    site.restart()
    began, took = time.monotonic(), None
    while took is None and time.monotonic() - began < 15:
        if site.rotation() == 4 and all(get(site.http) for _ in range(4)):
            took = time.monotonic() - began
        time.sleep(0.002)
    for app in apps:
        site.discard(app)
    return took


def started(site, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: site.start(free_port()), range(count)))


def mass_start(site):
    """How many of so many apps that start at once are not in rotation in the end."""
    apps = started(site, MASS)
    until(lambda: all(listens(app.port, app.host) for app in apps), "the apps listen")
    deadline = time.monotonic() + 15
    while site.rotation() < MASS and time.monotonic() < deadline:
        time.sleep(0.05)
    lost = MASS - site.rotation()
    for app in apps:
        site.discard(app)
    return {"of": MASS, "lost": lost}


def crowd(site):
    """(seconds, apps in rotation) while two hundred start at once."""
    began, curve = time.monotonic(), []
    apps = started(site, CROWD)
    while time.monotonic() - began < 30:
        curve.append([time.monotonic() - began, site.rotation()])
        if curve[-1][1] >= CROWD:
            break
        time.sleep(0.02)
    for app in apps:
        site.discard(app)
    return curve


if __name__ == "__main__":
    main(sys.argv[1])
