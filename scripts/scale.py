"""Writes the tables of docs/scale.md between their marks, from bench/results.json and assumptions;
--check fails if they differ.

python scripts/scale.py [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import scale_rows  # noqa: E402
from bench.scale import figures  # noqa: E402
from bench.scale.inputs import Input, Results, assumed, measured  # noqa: E402
from bench.simulation import scenarios  # noqa: E402

PAGE = ROOT / "docs" / "scale.md"
MARK = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
STORE_NAMES = {
    "redis": "Redis / Valkey",
    "postgres": "PostgreSQL",
    "lmdb": "LMDB by shard",
}


def number(value: float) -> str:
    """Three digits, or all of a large number rounded to three.

    >>> number(1234567.0), number(0.012345), number(42.0)
    ('1,230,000', '0.0123', '42')
    """
    text = f"{value:.3g}"
    return (
        f"{float(text):,.0f}"
        if abs(value) >= 100
        else (text if "e" not in text else f"{float(text):.3g}")
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _figures(rows: Sequence[figures.Figure]) -> str:
    return table(
        ["", "figure", "how"],
        [[row.what, f"{number(row.value)} {row.unit}", row.how] for row in rows],
    )


def _inputs(given: dict[str, Input], *, scaled: bool) -> str:
    def shown(each: Input) -> str:
        if scaled and each.unit == "s":
            return f"{number(each.value * 1e6)} us"
        return f"{number(each.value)} {each.unit}"

    return table(
        ["symbol", "value", "source"],
        [[f"`{name}`", shown(each), each.source] for name, each in given.items()],
    )


def _stores(x: figures.Numbers) -> str:
    rows = [
        [f"{STORE_NAMES[kind]}: {row.what}", f"{number(row.value)} {row.unit}", row.how]
        for kind, several in figures.stores(x).items()
        for row in several
    ]
    return table(["", "figure", "how"], rows)


def _limits(x: figures.Numbers) -> str:
    rows = [
        [what, f"{number(one)} {unit}", number(need), then]
        for what, one, unit, need, then in figures.limits(x)
    ]
    return table(
        ["", "is full at", "needed in a region, without reserve", "what to change then"], rows
    )


def _summary(x: figures.Numbers) -> str:
    rows = [
        [row.what, f"{number(row.value)} {row.unit}".strip(), row.how] for row in figures.summary(x)
    ]
    return table(["of a region", "figure", "derived in"], rows)


def _region(results: Results) -> str:
    rows = [
        [
            each["case"],
            number(each["rate"]),
            _ms(each["p50"]),
            _ms(each["p99"]),
            _ms(each["share_p99"]),
        ]
        for each in _cases(results, "whole region")
    ]
    return table(["at the plan's load", "/s", "p50", "p99", "p99 of the share"], rows)


def _points(results: Results) -> str:
    rows = results.named("simulated: ")
    return table(
        ["point", "simulated", "measured", "ratio", "other programs took"],
        [
            [
                row["name"].removeprefix("simulated: "),
                f"{number(row['ours'])} {row['unit']}",
                number(row["peer"]),
                f"{row['ratio']:g}",
                f"{max(row['others'], 0.0):.2f} processors" if row["others"] is not None else "",
            ]
            for row in rows
        ],
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{number(value)} ms"


def _saturation(results: Results, kind: str) -> str:
    cases = _cases(results, f"{kind} saturation")
    head = ["share of capacity", "/s", "p50", "p99"] + (
        ["refused"] if kind == "serving" else ["oldest"]
    )
    return table(
        head,
        [
            [f"{each['share']:.0%}", number(each["rate"]), _ms(each["p50"]), _ms(each["p99"])]
            + ([f"{each['refused']:.1%}"] if kind == "serving" else [_ms(each["most"])])
            for each in cases
        ],
    )


def _lost_zone(results: Results) -> str:
    rows = []
    for each in _cases(results, "serving lost zone"):
        before, unnoticed, after = each["before"], each["unnoticed"], each["after"]
        share = [f"{each['share']:.0%}", _ms(before["p99"]), f"{unnoticed['failed']:.0%}"]
        rows.append([*share, _ms(after["p99"]), f"{after['refused']:.1%}"])
    return table(
        [
            "share of capacity before",
            "p99 before",
            "failed until noticed",
            "p99 after",
            "refused after",
        ],
        rows,
    )


def _slow(results: Results, kind: str) -> str:
    rows = []
    for each in _cases(results, f"{kind} slow store"):
        during = each["during"]
        last = (
            f"{each['after']['refused']:.1%}" if kind == "serving" else _seconds(each["caught_up"])
        )
        rest = [f"{during['refused']:.1%}"] if kind == "serving" else [_ms(during["most"])]
        rows.append(
            [f"{each['extra'] * 1e3:g} ms", _ms(during["p50"]), _ms(during["p99"]), *rest, last]
        )
    ends = ["refused", "refused afterwards"] if kind == "serving" else ["oldest", "caught up after"]
    return table(["each answer later by", "p50", "p99", *ends], rows)


def _changes(results: Results) -> str:
    rows = [
        [
            each["case"],
            _ms(each["p50"]),
            _ms(each["p99"]),
            _seconds(each["most"] / 1e3),
            _seconds(each["caught_up"]),
        ]
        for each in _cases(results, "ingest changes")
    ]
    return table(
        [
            "",
            "p50",
            "p99",
            "oldest event when committed",
            f"all fresher than {scenarios.FRESH:g} s after",
        ],
        rows,
    )


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{number(value)} s"


def _cases(results: Results, name: str) -> list[dict]:
    return results.row(f"simulated fleet: {name}, the last case, p99")["cases"]


CURVES = (
    "point-in-time windows, integer keys: 12 features, ",
    "history larger than memory: ",
    "12 features on Spark, ",
    "4 features of all the past on Spark, ",
    "commit of 10,000 random keys, ",
    "POST features from ",
    "Kafka JSON into redis, ingest",
    "Kafka JSON into postgres, ingest",
)


def _curves(results: Results) -> str:
    rows = [row for begin in CURVES for row in results.named(begin) if "DuckDB" not in row["name"]]
    measured_rows = [
        [
            row["name"],
            f"{number(row['ours'])} {row['unit']}",
            ""
            if row["peer"] is None
            else f"{number(row['peer'])} {row['unit']}: {row['peer_name']}",
            f"{row['load']:.1f}",
            f"{row.get('date') or ''} {row.get('commit') or ''}".strip(),
        ]
        for row in rows
    ]
    missing = [
        [f"`--only {name}`", "not measured", why, "", ""]
        for name, why in results.missing(scale_rows.CURVES).items()
    ]
    return table(
        ["point", "measured", "compared with", "load before", "date and commit"],
        measured_rows + missing,
    )


def tables(results: Results) -> dict[str, str]:
    """Every table of the page, by its mark."""
    costs, given = measured(results), assumed()
    x = figures.plain(costs, given)
    return {
        "measured": _inputs(costs, scaled=True),
        "assumed": _inputs(given, scaled=False),
        "ingest": _figures(figures.ingest(x)),
        "stores": _stores(x),
        "serving": _figures(figures.serving(x)),
        "history": _figures(figures.history(x)),
        "network": _figures(figures.network(x)),
        "cost": _figures(figures.cost(x)),
        "limits": _limits(x),
        "summary": _summary(x),
        "whole region": _region(results),
        "points": _points(results),
        "curves": _curves(results),
        "serving saturation": _saturation(results, "serving"),
        "serving lost zone": _lost_zone(results),
        "serving slow store": _slow(results, "serving"),
        "ingest saturation": _saturation(results, "ingest"),
        "ingest changes": _changes(results),
        "ingest slow store": _slow(results, "ingest"),
    }


def page(text: str, results: Results) -> str:
    """The page with these tables between its marks."""
    made = tables(results)
    marks = [mark[2] for mark in MARK.finditer(text)]
    if sorted(marks) != sorted(made):
        sys.exit(
            f"docs/scale.md has the marks {', '.join(marks)}; it needs each of {', '.join(made)} "
            "once"
        )
    return MARK.sub(lambda mark: mark[1] + made[mark[2]] + mark[3], text)


def main() -> int:
    """Write the tables, or compare them."""
    text, results = PAGE.read_text("utf-8"), Results.read()
    new = page(text, results)
    if "--check" in sys.argv[1:]:
        if new != text:
            print(
                "docs/scale.md does not have the figures of bench/results.json: run "
                "scripts/scale.py"
            )
        return int(new != text)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
