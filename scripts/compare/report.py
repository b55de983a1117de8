"""The table and the plots of README.md from measured data: report.py FILE.json."""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- scripts/compare.sh writes from here -->", "<!-- to here -->"
COLUMNS = ["Berth", "bash and socat", "HAProxy's DNS", "Traefik", "tini", "dumb-init", "catatonit"]


def main(path):
    data = json.loads(pathlib.Path(path).read_text())
    rows = table(data)
    print(terminal(rows))
    docs = ROOT / "docs"
    crowd(data["crowd"], docs / "crowd.svg")
    rolling(data["roll"], docs / "rolling.svg")
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + "\n" + markdown(rows, data["machine"]) + END + after)


def table(data):
    """Rows of cells, the header first."""
    rows = [["", *COLUMNS]]

    def row(what, part, show):
        values = data.get(part, {})
        rows.append([what, *[show(values[c]) if c in values else "–" for c in COLUMNS]])

    row("in the image, kB", "size", lambda v: f"{v / 1000:.0f}")
    row("PSS of one, kB", "pss", str)
    bare = data["start"]["nothing"]
    row("added to `true`, µs", "start", lambda v: f"{v - bare}")
    row("app listens → first request served", "served", seconds)
    row("told to stop → out of rotation", "out", seconds)
    row("rolling replacement: failed requests", "roll", lambda v: f"{v['failed']} of {v['total']}")
    row("40 start at once: lost", "lost", lambda v: str(v["lost"]))
    row("load balancer restarts → all served", "heal", lambda v: "never" if v is None else seconds(v))
    return rows


def seconds(value):
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def markdown(rows, machine):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|" + "--:|" * len(COLUMNS))
    where = (f"Medians of one run on {machine['date']}, HAProxy {machine['haproxy']},"
             f" {machine['cores']} cores, {machine['kind']}; `scripts/compare.sh` makes it again.")
    return "\n".join(["", *lines, "", where, ""])


def terminal(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    def line(row):
        return "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
    return "\n".join(line(row).replace("`", "") for row in rows)


COLORS = {"Berth": "#0b6e4f", "bash and socat": "#c1440e"}
plt.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "berth", "font.size": 10, "axes.spines.top": False,
                     "axes.spines.right": False, "figure.facecolor": "white"})


def crowd(curves, path):
    """How many of two hundred apps that start at once are in rotation."""
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for name, curve in curves.items():
        times, counts = zip(*curve)
        axes.step([0, *times], [0, *counts], where="post", color=COLORS[name], linewidth=2, label=name)
        axes.annotate(f"{name}: {counts[-1]}", (times[-1], counts[-1]), (-4, 6), textcoords="offset points",
                      color=COLORS[name], ha="right", weight="bold")
    longest = max(times[-1] for times in (list(zip(*curve))[0] for curve in curves.values()))
    axes.axhline(200, color="#bbbbbb", linewidth=1, linestyle=":", zorder=0)
    axes.set(xscale="log", xlim=(0.1, longest * 1.05), ylim=(0, 225), xlabel="seconds after all are started",
             ylabel="in rotation", title="200 apps start at once")
    axes.xaxis.set_major_formatter("{x:g}")
    save(figure, path)


def rolling(runs, path):
    """Requests per second, and failed ones, while all apps are replaced."""
    names = [name for name in COLORS if name in runs]
    figure, panels = plt.subplots(len(names), 1, figsize=(7, 2 * len(names)), sharex=True, sharey=True,
                                  layout="constrained")
    for name, axes in zip(names, panels):
        run = runs[name]
        times, good, bad = zip(*run["series"][:-1])
        axes.bar(times, [n * 5 for n in good], 0.2, align="edge", color=COLORS["Berth"], label="answered")
        axes.bar(times, [n * 5 for n in bad], 0.2, [n * 5 for n in good], align="edge",
                 color=COLORS["bash and socat"], label="failed")
        axes.axvspan(run["from"], run["to"], color="#eeeeee", zorder=0)
        for at, _, n in run["series"]:
            if n:
                axes.annotate(str(n), (at + 0.1, 0), (0, 3), textcoords="offset points", ha="center", color="white",
                              weight="bold")
        axes.set(ylabel="requests / s", title=f"{name}: {run['failed']} of {run['total']} failed")
    panels[-1].set_xlabel("seconds; requests of 20 ms; grey: four apps are replaced, twice")
    save(figure, path)


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    figure.savefig(pathlib.Path("target") / (path.stem + ".png"), dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
