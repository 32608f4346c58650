"""From what was measured to what is told: ratios within a round, their middle and range, and the tables.

A ratio is of two proxies in the same round, because a machine differs more between rounds than proxies do
within one. What stands in a table is the median of all rounds and, in brackets, the least and the most.
"""

import statistics

import measure

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def spread(values, digits=2):
    """`middle (least–most)`; of one value, itself."""
    least, most = min(values), max(values)
    if len(values) == 1:
        return f"{most:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def middle(values, digits=2):
    return f"{statistics.median(values):,.{digits}f}"


def ratios(rounds, name, base, of):
    """`of(run)` of `name` by that of `base`, for each round that has both."""
    return [of(each[name]) / of(each[base]) for each in rounds if name in each and base in each]


def added(rounds, name, percent):
    """Microseconds that `name` adds at a percentile: what it took, less what the upstream took when asked
    directly in the same round."""
    return [each[name]["since_due"][percent] - each["direct"]["since_due"][percent]
            for each in rounds if name in each]


def cpu(run):
    return run["cpu_us"]


def names_of(rounds):
    """The proxies of a cell, in the order in which they stand in tables."""
    every = dict.fromkeys(name for each in rounds for name in each if name != "direct")
    order = ["nginx", "HAProxy", "Envoy", "pingora", "Daypass"]
    return sorted(every, key=lambda name: (order.index(name) if name in order else len(order), name))


def base_of(rounds):
    """Against whom a cell is told: nginx, or where it does not take part, whoever is first."""
    return names_of(rounds)[0]


def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def table(head, rows):
    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)])


def microseconds(value):
    return f"{value / 1000:,.2f} ms" if value >= 1000 else f"{value:.1f} µs"


def core_table(data):
    """CPU and throughput in the two cells that matter, side by side."""
    shown = [name for name in ("http", "tls") if data["rounds"].get(name)]
    head = ["proxy"]
    for name in shown:
        what = {"http": "plain HTTP", "tls": "TLS"}[name]
        head += [f"{what}: CPU µs/request", "CPU vs nginx, same round", "requests/s"]
    rows = []
    for name in names_of(data["rounds"][shown[0]]):
        cells = [f"{name} {data['versions'][name]}"]
        for cell in shown:
            rounds = data["rounds"][cell]
            runs = [each[name] for each in rounds]
            ratio = spread(ratios(rounds, name, base_of(rounds), cpu)) if name != base_of(rounds) else "1.00"
            cells += [spread([cpu(run) for run in runs], 1), ratio,
                      middle([run["rps"] for run in runs], 0)]
        rows.append(cells)
    return table(head, rows)


def against_table(data):
    """Daypass's CPU for a request, by each peer's."""
    shown = [name for name in ("http", "tls") if data["rounds"].get(name)]
    rows = []
    for cell in shown:
        rounds = data["rounds"][cell]
        peers = [name for name in names_of(rounds) if not name.startswith("Daypass")]
        rows.append([str(measure.Cell(cell)), *(spread(ratios(rounds, "Daypass", peer, cpu)) for peer in peers)])
    return table(["Daypass's CPU by that of", *peers], rows)


def latency_table(data):
    shown = [name for name in ("http", "tls") if data["latency"].get(name)]
    head = ["proxy"]
    for name in shown:
        what = {"http": "plain HTTP", "tls": "TLS"}[name]
        head += [f"{what}: added p50 µs", "by nginx's", "added p99 µs"]
    rows = []
    for name in names_of(data["latency"][shown[0]]):
        cells = [name]
        for cell in shown:
            rounds = data["latency"][cell]
            base = base_of(rounds)
            by = [one / other for one, other in zip(added(rounds, name, "50"), added(rounds, base, "50"))]
            cells += [spread(added(rounds, name, "50"), 0), middle(by) if name != base else "1.00",
                      spread(added(rounds, name, "99"), 0)]
        rows.append(cells)
    direct = data["latency"][shown[0]]
    cells = ["(the upstream itself)"]
    for _ in shown:
        cells += [spread([each["direct"]["since_due"]["50"] for each in direct], 0), "",
                  spread([each["direct"]["since_due"]["99"] for each in direct], 0)]
    return table(head, [*rows, cells])


def footprint_table(data):
    rows = []
    for name, found in data["footprint"].items():
        memory = found["memory"]
        kept = data.get("cached", {}).get("rss_mb") if name == "Daypass" else None
        rows.append([
            name, f"{found['start_ms']:.0f}", f"{memory['idle']['rss_mb']:.1f}",
            f"{memory['loaded']['rss_mb']:.1f}", f"{memory['clients']['1000']['rss_mb']:.1f}",
            f"{kept:.1f}" if kept else "", f"{found['binary_bytes'] / 1e6:.1f}",
        ])
    return table(["proxy", "start → first 200, ms", "RSS MB idle", "after a load", "1,000 idle clients",
                  "100,000 users in memory", "binary MB, stripped"], rows)


def more_table(data):
    """The other cells: each proxy's CPU for a request, and its ratio."""
    cells = [name for name in data["rounds"] if name not in ("http", "tls") and data["rounds"][name]]
    if not cells:
        return ""
    names = names_of([each for rounds in data["rounds"].values() for each in rounds])
    rows = []
    for cell in cells:
        rounds = data["rounds"][cell]
        base = base_of(rounds)
        told = []
        for name in names:
            if name not in rounds[0]:
                told.append("does not")
                continue
            took = microseconds(statistics.median(cpu(each[name]) for each in rounds))
            told.append(f"{took}, 1.00" if name == base else f"{took}, {spread(ratios(rounds, name, base, cpu))}")
        rows.append([str(measure.Cell(cell)), len(rounds), *told])
    return table(["", "rounds", *names], rows)


def quietness(data):
    """How much of a core others took in the median run of the core cells, and how busy the proxies were."""
    runs = [run for cell in ("http", "tls") for each in data["rounds"].get(cell, []) for run in each.values()]
    if not runs:
        return ""
    others = statistics.median(run["others"] for run in runs)
    worst = max(run["others"] for run in runs)
    busy = min(run["busy"] for run in runs)
    return (f"Others on the machine took {others:.0%} of a core in the median run and {worst:.0%} in the "
            f"worst; the proxies were busy for {busy:.0%} of their core at least.")


def told(data, pictures=None):
    """The whole report in Markdown, without a heading of its own."""
    options, machine = data["options"], data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    rounds = max((len(each) for each in data["rounds"].values()), default=0)
    parts = [
        f"{data['at'][:16].replace('T', ' ')} UTC, commit {data['commit']}: {versions}. {rounds} rounds of "
        f"{options['seconds']} s for each proxy, on {machine['cores']} cores of {machine['model']}, Linux "
        f"{machine['kernel']}; load average before: {data['load'][0]:.2f}. {quietness(data)} Medians, with the "
        "range over rounds in brackets.",
    ]
    if any(data["rounds"].get(name) for name in ("http", "tls")):
        parts += [core_table(data)]
        if any(each.keys() - {"Daypass"} for each in data["rounds"].get("http", [])):
            parts += [against_table(data)]
    if pictures:
        parts.append(f"![CPU for a request by nginx's]({pictures}-cpu.svg)")
    if data.get("latency"):
        parts += [f"At a steady {options['rate']:,} requests a second, counted from when each was due, less "
                  "what the upstream takes when asked directly in the same round:", latency_table(data)]
        if pictures:
            parts.append(f"![Latency by percentile]({pictures}-latency.svg)")
    if data.get("footprint"):
        parts.append(footprint_table(data))
        if pictures:
            parts.append(f"![Memory by idle clients]({pictures}-memory.svg)")
    if more := more_table(data):
        parts += ["Elsewhere in the matrix: CPU for a request, and its ratio to the first in the row:", more]
    if data.get("absent"):
        parts += [f"Not measured: {name}. {why}." for name, why in data["absent"].items()]
    return "\n\n".join(parts) + "\n"


def in_page(page, text):
    """`page` with `text` between the two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{after}"
