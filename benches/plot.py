"""Line charts as SVG, for the reports. Nothing but text is written: no library draws them."""

COLOURS = ["#2563eb", "#dc2626", "#059669", "#9333ea"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 70, 20, 40, 50


def _round(most):
    """A round number that is no less than `most`."""
    step = 1.0
    while step * 10 < most:
        step *= 10
    for factor in (1, 2, 2.5, 5, 10):
        if step * factor >= most:
            return step * factor
    return most


def lines(title, across, up, series):
    """`series`: name to a list of (x, y); both axes begin at zero."""
    points = [point for found in series.values() for point in found]
    most_x = max((x for x, _ in points), default=1) or 1
    most_y = _round(max((y for _, y in points), default=1) or 1)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x, y):
        return f"{LEFT + x / most_x * wide:.1f},{TOP + high - y / most_y * high:.1f}"

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           'font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for part in range(5):
        y = TOP + high - part / 4 * high
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most_y * part / 4:,.4g}</text>')
        x = LEFT + part / 4 * wide
        out.append(f'<text x="{x:.1f}" y="{TOP + high + 18}" text-anchor="middle">{most_x * part / 4:,.4g}</text>')
    out.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 12}" text-anchor="middle">{across}</text>')
    out.append(f'<text x="16" y="{TOP + high / 2}" text-anchor="middle" '
               f'transform="rotate(-90 16 {TOP + high / 2})">{up}</text>')
    for number, (name, found) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="'
                   + " ".join(at(x, y) for x, y in found) + '"/>')
        if len(series) > 1:
            out.append(f'<text x="{WIDTH - RIGHT - 8}" y="{TOP + 14 + number * 16}" text-anchor="end" '
                       f'fill="{colour}">{name}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def slope(points):
    """Of the straight line that fits best: what y grows by for each x."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
