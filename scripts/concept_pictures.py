"""Draw the pictures of docs/concepts.md into docs/pictures: .venv/bin/python -m
scripts.concept_pictures

Each is an SVG with a background of its own, light or dark as the reader prefers, so it can be read
on any page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from scripts.demo_figures import kept

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH = 720
LEFT, RIGHT = 150, 690
STYLE = """
svg{font:14px system-ui,sans-serif;--page:#fff;--ink:#1f2328;--soft:#656d76;--line:#c9d1d9;--main:#0969da;--good:#1a7f37;--bad:#cf222e;--fill:#ddf4ff}
@media(prefers-color-scheme:dark){svg{--page:#161b22;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--main:#58a6ff;--good:#3fb950;--bad:#f85149;--fill:#132f4c}}
.page{fill:var(--page);stroke:var(--line)}text{fill:var(--ink)}.soft{fill:var(--soft)}.main{fill:var(--main)}.good{fill:var(--good)}.bad{fill:var(--bad)}
.fill{fill:var(--fill)}path,line{fill:none;stroke:var(--line);stroke-width:1.5}.s-ink{stroke:var(--ink)}.s-main{stroke:var(--main);stroke-width:2}
.s-good{stroke:var(--good);stroke-width:3}.s-bad{stroke:var(--bad);stroke-width:3}.s-soft{stroke:var(--soft);stroke-width:3}.dash{stroke-dasharray:4 4}
.open{fill:var(--page);stroke:var(--soft);stroke-width:1.5}
""".replace("\n", "")


class Drawing:
    """An SVG in the making. Lengths are in pixels, from the top left."""

    def __init__(self, height: int, about: str) -> None:
        self.height, self.about = height, about
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        """Words whose baseline is at y."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, css: str = "") -> None:
        """A line."""
        self.parts.append(
            f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" class="{css}"/>'
        )

    def axis(self, y: float, words: str = "time") -> None:
        """An axis of time with its arrow."""
        self.line(LEFT, y, RIGHT, y, "s-ink")
        self.parts.append(
            f'<path d="M{RIGHT - 8} {y - 5:g}L{RIGHT} {y:g}L{RIGHT - 8} {y + 5:g}" class="s-ink"/>'
        )
        if words:
            self.text(RIGHT, y + 20, words, "soft", "end")

    def events(self, y: float, at: Iterable[float], counts: Callable[[float], bool]) -> None:
        """Events on an axis: filled where they count."""
        for x in at:
            self.parts.append(
                f'<circle cx="{x:g}" cy="{y:g}" r="6" class="{"main" if counts(x) else "open"}"/>'
            )

    def box(self, x: float, y: float, width: float, height: float, css: str = "fill") -> None:
        """A rectangle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{css}"/>'
        )

    def mark(
        self, x: float, top: float, bottom: float, words: str, css: str = "s-main dash"
    ) -> None:
        """A point in time: a vertical line with words above it."""
        self.line(x, top, x, bottom, css)
        self.text(x, top - 6, words, anchor="middle")

    def curve(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """A line through points."""
        self.parts.append(
            f'<path d="M{"L".join(f"{x:g} {y:g}" for x, y in points)}" class="{css}"/>'
        )

    def svg(self) -> str:
        """The file."""
        size = f'viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
        page = (
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{self.height - 1}" '
            'rx="8"/>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" '
            f'aria-label="{escape(self.about, quote=True)}"><style>{STYLE}</style>'
            f"{page}{''.join(self.parts)}</svg>\n"
        )


EVENTS = (175, 235, 300, 340, 415, 470, 530, 585, 612, 634)
ASKED = 650


def level() -> Drawing:
    """The same request at four levels."""
    drawn = Drawing(
        330,
        "One request at four levels: the fresher the level, the later its window ends, and the "
        "more events count",
    )
    drawn.mark(ASKED, 34, 290, "request")
    for n, (name, end) in enumerate(
        {"daily": 380, "hourly": 560, "minute": 622, "at request": ASKED}.items()
    ):
        y = 75 + 60 * n
        drawn.text(20, y + 5, name)
        drawn.box(LEFT, y - 14, end - LEFT, 28)
        drawn.axis(y, "")
        drawn.events(y, EVENTS, lambda x, end=end: x < end)
        drawn.text(end - 6, y - 18, "T", "main", "end")
    drawn.text(RIGHT, 315, "filled: counts; open: too new for this level", "soft", "end")
    return drawn


def freshness() -> Drawing:
    """The age of a value over two days."""
    drawn = Drawing(
        260,
        "Age of a value over two days: daily rises from 4 hours to 28 and falls; hourly stays "
        "near 1 hour; streaming near 0",
    )
    top, bottom, hours = 40, 210, 48
    scale = (bottom - top) / 30
    width = (RIGHT - LEFT) / hours
    daily = [(0, 24), (4, 28), (4, 4), (28, 28), (28, 4), (48, 24)]
    hourly = [
        (0, 1),
        *(point for hour in range(hours) for point in ((hour + 0.3, 1.3), (hour + 0.3, 0.3))),
        (48, 1),
    ]
    for points, css in ((daily, "s-bad"), (hourly, "s-main"), ([(0, 0), (hours, 0)], "s-good")):
        drawn.curve([(LEFT + hour * width, bottom - age * scale) for hour, age in points], css)
    drawn.axis(bottom, "time of the request, two days")
    drawn.line(LEFT, top - 10, LEFT, bottom, "s-ink")
    for hours_old in (0, 12, 24):
        drawn.text(LEFT - 8, bottom - hours_old * scale + 5, f"{hours_old} h", "soft", "end")
    drawn.text(20, 30, "age of the value")
    drawn.text(470, 60, 'batch("1d", delay="4h")', "bad")
    drawn.text(470, 195, 'batch("1h", delay="18m")', "main")
    drawn.text(LEFT, 245, 'streaming("2s") lies on the axis', "good")
    return drawn


def cut() -> Drawing:
    """A cut is computed, then published."""
    drawn = Drawing(
        200,
        "A job computes a cut at midnight and publishes it four hours later; a request in between "
        "reads the cut before",
    )
    y = 110
    drawn.axis(y)
    for x, name in ((200, "cut c0"), (430, "cut c1")):
        drawn.box(x, y - 12, 70, 24)
        drawn.mark(x, y - 50, y + 16, name)
        drawn.text(x + 35, y + 5, "delay", anchor="middle")
        drawn.line(x + 70, y - 16, x + 70, y + 16, "s-good")
        drawn.text(x + 72, y - 22, "published", "good")
    for x, read in ((330, "c0"), (470, "c0"), (600, "c1")):
        drawn.text(x, y + 40, "↑ request", "soft", "middle")
        drawn.text(x, y + 60, f"reads {read}", anchor="middle")
    return drawn


def window() -> Drawing:
    """T and K."""
    drawn = Drawing(
        250,
        "T is where the window ends, K by when an event must have been known; an event known "
        "after K does not count",
    )
    y, begin, end, asked = 110, 230, 540, 620
    drawn.text(20, y + 5, "happened")
    drawn.box(begin, y - 16, end - begin, 32)
    drawn.axis(y, "")
    drawn.mark(begin, 50, y + 20, "T − window")
    drawn.mark(end, 50, y + 20, "T")
    drawn.mark(asked, 50, 200, "request t")
    drawn.events(y, (180, 270, 350, 430, 505, 575), lambda x: begin <= x < end and x != 505)
    drawn.text(20, 185, "known")
    drawn.axis(180, "")
    drawn.mark(end + 30, 156, 200, "K")
    for x, known in ((270, 285), (350, 380), (430, 520), (505, 600)):
        css = "s-main" if known <= end + 30 else "dash"
        drawn.line(x, y + 8, known, 172, css)
        drawn.events(180, [known], lambda k: k <= end + 30)
    drawn.text(RIGHT, 232, "counts: T − window ≤ happened < T, and known ≤ K", "soft", "end")
    return drawn


def known_at() -> Drawing:
    """An outcome that is known later."""
    drawn = Drawing(
        190,
        "A chargeback belongs to a payment of Monday and is known on Friday: a request on "
        "Wednesday does not count it",
    )
    y = 90
    drawn.axis(y)
    drawn.events(y, (200,), lambda _: True)
    drawn.text(200, y - 16, "payment, Monday", anchor="middle")
    drawn.curve([(200, y), (240, y + 34), (460, y + 34), (500, y + 6)], "s-main dash")
    drawn.text(
        350,
        y + 52,
        "known_after: it takes until Friday to learn that it was fraud",
        "soft",
        "middle",
    )
    drawn.mark(500, 50, y + 8, "known_at: Friday", "s-good")
    for x, words in ((340, "Wednesday: not yet"), (640, "Sunday: counts")):
        drawn.text(x, y - 22, "↓", "main", "middle")
        drawn.text(x, y - 38, words, anchor="middle")
    return drawn


def tile() -> Drawing:
    """A window as tiles."""
    drawn = Drawing(
        220,
        "A window is merged from tiles; its head moves continuously, its tail in steps of one hop",
    )
    y, hop, first = 100, 45, 180
    for n in range(10):
        drawn.box(first + n * hop + 1, y - 22, hop - 2, 44, "fill" if n >= 1 else "open")
        drawn.text(
            first + (n + 0.5) * hop, y + 5, str((3, 1, 4, 1, 5, 2, 6, 5, 3, 2)[n]), anchor="middle"
        )
    drawn.axis(y + 40)
    drawn.mark(first + hop, 50, y + 50, "floor(T − window, hop)")
    drawn.mark(first + 9.8 * hop, 50, y + 50, "T")
    drawn.text(20, y + 5, "tiles: counts")
    drawn.text(first + 1.5 * hop, y + 70, "one hop", "soft", "middle")
    drawn.line(first + hop, y + 52, first + 2 * hop, y + 52, "s-main")
    drawn.text(
        LEFT,
        205,
        "1 + 4 + 1 + 5 + 2 + 6 + 5 + 3 + 2 = 29; the next event is added to the last tile",
        "soft",
    )
    return drawn


def lift() -> Drawing:
    """The difference of two levels of the demo."""
    gains = {level.name: round(level.metrics["auc"].value, 3) for level in kept().levels}
    step_up = next(
        step
        for step in kept().comparisons
        if (step.from_, step.to, step.metric) == ("daily", "hourly", "auc")
    ).delta
    drawn = Drawing(
        270,
        f"The demo's AUC by level: {gains['request only']:.2f} request only, {gains['daily']:.2f} "
        f"daily, {gains['hourly']:.2f} hourly, {gains['minute']:.2f} minute and "
        f"{gains['instant']:.2f} instant; the lift of hourly is {step_up:.2f}",
    )
    step, points = 110, {}
    for n, (name, auc) in enumerate(gains.items()):
        x, y = 200 + n * step, 215 - (auc - 0.62) * 950
        points[name] = (x, y)
        drawn.text(x, 255, name, anchor="middle")
        drawn.text(x, y + 24 if auc < 0.7 else y - 14, f"{auc:.3f}", anchor="middle")
    drawn.curve(points.values(), "s-main")
    for x, y in points.values():
        drawn.events(y, [x], lambda _: True)
    (x0, y0), (x1, y1) = points["daily"], points["hourly"]
    drawn.line(x0 + 12, y0, x1 + 30, y0, "dash")
    drawn.line(x1 + 24, y0, x1 + 24, y1 + 10, "s-good")
    drawn.text(x1 + 34, (y0 + y1) / 2 + 5, f"lift of hourly over daily: {step_up:+.3f}", "good")
    drawn.text(20, 40, "AUC")
    return drawn


def verdicts() -> Drawing:
    """Four intervals and their words."""
    drawn = Drawing(
        260,
        "Four intervals of a gain: wholly above zero is LIFT, wholly below is harm, within the "
        "least lift worth having is negligible",
    )
    zero, least = 360, 40
    drawn.box(zero - least, 40, 2 * least, 180)
    drawn.line(zero, 40, zero, 220, "s-ink")
    drawn.text(zero, 30, "0", anchor="middle")
    drawn.text(zero, 240, "less than the least lift worth having", "soft", "middle")
    rows = [
        ("LIFT", 400, 560, "good"),
        ("harm", 190, 300, "bad"),
        ("negligible", 338, 388, "soft"),
        ("not proven", 270, 520, "soft"),
    ]
    for n, (name, low, high, css) in enumerate(rows):
        y = 70 + 42 * n
        drawn.text(20, y + 5, name)
        drawn.line(low, y, high, y, f"s-{css}")
        drawn.parts.append(f'<circle cx="{(low + high) / 2:g}" cy="{y}" r="5" class="{css}"/>')
    drawn.text(RIGHT, 240, "gain →", "soft", "end")
    return drawn


PICTURES = {
    drawing.__name__: drawing
    for drawing in (level, freshness, cut, window, known_at, tile, lift, verdicts)
}

if __name__ == "__main__":
    for name, drawing in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(drawing().svg(), encoding="utf-8")
