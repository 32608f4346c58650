"""The pictures of the page: small SVGs, written by hand, readable by day and by night and to who only hears.

Every line is named at its end, so that colours need not be told apart; `title` and `desc` say what is shown
and what is to be seen, with the figures.
"""

import html
import math
import statistics

import figures
import measure

# By day and by night. Who has none of their own is drawn in grey.
COLOURS = {
    "nginx": ("#0969da", "#58a6ff"), "HAProxy": ("#9a6700", "#d29922"), "Envoy": ("#8250df", "#bc8cff"),
    "pingora": ("#cf222e", "#ff7b72"), "Daypass": ("#0f766e", "#2dd4bf"),
}
GREY = ("#57606a", "#9da7b1")
DASHES = {"nginx": "7 3", "HAProxy": "2 3", "Envoy": "10 3 2 3", "pingora": "4 4", "direct": "1 4"}
WIDTH = 760


def css(names):
    day, night = [], []
    for number, name in enumerate(names):
        for rules, colour in zip((day, night), COLOURS.get(name, GREY)):
            rules.append(f".c{number} {{ color: {colour} }}")
    return f"""
    svg {{ font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
          font-size: 13px }}
    .sheet {{ fill: #ffffff; stroke: #d0d7de }}
    .grid {{ stroke: #d0d7de; stroke-width: 1 }}
    .axis {{ stroke: #57606a; stroke-width: 1 }}
    .head {{ fill: #1f2328; font-size: 15px; font-weight: 600 }}
    .text {{ fill: #1f2328 }}
    .note {{ fill: #57606a }}
    .bar {{ fill: currentColor; opacity: .75 }}
    .whisker {{ stroke: #1f2328; stroke-width: 1.5 }}
    .line {{ stroke: currentColor; stroke-width: 2; fill: none }}
    .own {{ stroke-width: 3.5 }}
    .name {{ fill: currentColor; font-weight: 600 }}
    {' '.join(day)}
    @media (prefers-color-scheme: dark) {{
      .sheet {{ fill: #0d1117; stroke: #30363d }}
      .grid {{ stroke: #30363d }}
      .axis {{ stroke: #8b949e }}
      .head, .text {{ fill: #e6edf3 }}
      .note {{ fill: #9da7b1 }}
      .whisker {{ stroke: #e6edf3 }}
      {' '.join(night)}
    }}
  """


def drawing(title, desc, height, names, parts):
    inside = "\n  ".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" \
aria-labelledby="title desc">
  <title id="title">{html.escape(title)}</title>
  <desc id="desc">{html.escape(desc)}</desc>
  <style>{css(names)}</style>
  <rect class="sheet" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="10"/>
  <text class="head" x="24" y="32">{html.escape(title)}</text>
  {inside}
</svg>
"""


def text(x, y, what, css_class="text", anchor="start"):
    return f'<text class="{css_class}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(what)}</text>'


def rule(css_class, x1, y1, x2, y2):
    return f'<line class="{css_class}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def steps(most, about=5):
    """Round numbers from 0 to just over `most`."""
    raw = most / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def cpu(data):
    """A bar for each proxy's CPU by nginx's, with the range over rounds."""
    groups, every = [], []
    for name in ("http", "tls"):
        rounds = data["rounds"].get(name)
        if not rounds:
            continue
        base = figures.base_of(rounds)
        bars = [(proxy, figures.ratios(rounds, proxy, base, figures.cpu)) for proxy in figures.names_of(rounds)]
        groups.append((str(measure.Cell(name)), bars))
        every += [proxy for proxy, _ in bars if proxy not in every]
    marks = steps(max(max(values) for _, bars in groups for _, values in bars))
    left, right, y = 150, WIDTH - 90, 62
    at = lambda value: left + (right - left) * value / marks[-1]
    height = 62 + sum(30 + 28 * len(bars) for _, bars in groups) + 40
    parts = [text(at(mark), height - 22, f"{mark:g}", "note", "middle") for mark in marks]
    said = []
    for title, bars in groups:
        parts.append(text(24, y + 10, title, "note"))
        y += 30
        below = y - 16 + 28 * len(bars)
        parts += [rule("grid", at(mark), y - 14, at(mark), below) for mark in marks]
        parts.append(rule("axis", at(1), y - 14, at(1), below))
        for proxy, values in bars:
            value = statistics.median(values)
            parts += [
                text(left - 10, y + 4, proxy, "text", "end"),
                f'<rect class="bar c{every.index(proxy)}" x="{left}" y="{y - 10}" '
                f'width="{at(value) - left:.1f}" height="20" rx="3"/>',
                rule("whisker", at(min(values)), y, at(max(values)), y),
                rule("whisker", at(min(values)), y - 5, at(min(values)), y + 5),
                rule("whisker", at(max(values)), y - 5, at(max(values)), y + 5),
                text(at(max(values)) + 8, y + 4, f"{value:.2f}", "text"),
            ]
            said.append(f"{proxy} {value:.2f}")
            y += 28
        said[-1] += "."
    return drawing("CPU for a request, by nginx's in the same round",
                   "Less is better. " + f"{'; '.join(title for title, _ in groups)}. " + ", ".join(said)
                   + " The whiskers are the least and the most of all rounds.", height, every, parts)


def chart(title, desc, note, series, xs, x_marks, y_marks, x_at, y_of):
    """Lines with their names at the right. `series`: name to values, one for each of `xs`."""
    left, right, top, bottom = 64, WIDTH - 120, 70, 356
    at_x = lambda value: left + (right - left) * x_at(value)
    at_y = lambda value: bottom - (bottom - top) * y_of(value)
    parts = [text(24, 54, note, "note")]
    for mark, label in y_marks:
        parts += [rule("grid", left, at_y(mark), right, at_y(mark)),
                  text(left - 8, at_y(mark) + 4, label, "note", "end")]
    for mark, label in x_marks:
        parts += [rule("grid", at_x(mark), top, at_x(mark), bottom),
                  text(at_x(mark), bottom + 20, label, "note", "middle")]
    parts.append(rule("axis", left, bottom, right, bottom))
    names, ends = list(series), []
    for number, (name, values) in enumerate(series.items()):
        points = " ".join(f"{at_x(x):.1f},{at_y(value):.1f}" for x, value in zip(xs, values))
        dash = DASHES.get(name)
        parts.append(f'<polyline class="line{"" if dash else " own"} c{number}" points="{points}"'
                     + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")
        ends.append([at_y(values[-1]), number, name])
    ends.sort()
    lowest = 0.0
    for end in ends:
        end[0] = lowest = max(end[0], lowest + 16)
    for y, number, name in ends:
        parts.append(f'<text class="name c{number}" x="{right + 8}" y="{y + 4:.1f}">{html.escape(name)}</text>')
    return drawing(title, desc, 396, names, parts)


def latency(data, cell="http"):
    """Latency by percentile at the constant rate: medians over the rounds."""
    rounds = data["latency"][cell]
    grid = ["50", "75", "90", "95", "99", "99.9"]
    names = ["direct", *figures.names_of(rounds)]
    series = {name: [statistics.median(each[name]["since_due"][percent] for each in rounds if name in each)
                     for percent in grid] for name in names}
    everything = [value for values in series.values() for value in values]
    every_mark = [factor * 10.0 ** decade for decade in range(7) for factor in (1, 2, 5)]
    low = max(mark for mark in every_mark if mark <= max(1, min(everything)))
    high = min(mark for mark in every_mark if mark >= max(everything))
    marks = [mark for mark in every_mark if low <= mark <= high]
    label = lambda value: f"{value / 1000:g} ms" if value >= 1000 else f"{value:g} µs"
    said = "; ".join(f"{name} p50 {values[0]:.0f} µs, p99 {values[4]:.0f} µs" for name, values in series.items())
    return chart(
        f"Latency at {data['options']['rate']:,} requests a second", said + ". Less is better.",
        "from when a request was due to its whole answer; upstream plain HTTP, 700 B; by percentile",
        series, range(len(grid)), [(n, f"p{percent}") for n, percent in enumerate(grid)],
        [(mark, label(mark)) for mark in marks], lambda x: x / (len(grid) - 1),
        lambda value: math.log(value / low) / math.log(high / low))


def memory(data):
    """Resident memory by idle clients."""
    series, xs = {}, None
    for name, found in data["footprint"].items():
        clients = found["memory"]["clients"]
        xs = [int(count) for count in clients]
        series[name] = [clients[str(count)]["rss_mb"] for count in xs]
    marks = steps(max(value for values in series.values() for value in values))
    said = "; ".join(f"{name} {values[0]:.0f} MB with {xs[0]}, {values[-1]:.0f} MB with {xs[-1]:,}"
                     for name, values in series.items())
    return chart(
        "Memory by idle clients", said + ". Less is better.",
        "resident megabytes of all processes, after a load; each client has asked once and stays connected",
        series, xs, [(x, f"{x:,}") for x in xs if x % 250 == 0], [(mark, f"{mark:g}") for mark in marks],
        lambda x: x / xs[-1], lambda value: value / marks[-1])


def all_of(data):
    """Name to picture, of what there is."""
    pictures = {}
    if any(data["rounds"].get(name) for name in ("http", "tls")):
        pictures["cpu"] = cpu(data)
    if data.get("latency", {}).get("http"):
        pictures["latency"] = latency(data)
    if data.get("footprint"):
        pictures["memory"] = memory(data)
    return pictures
