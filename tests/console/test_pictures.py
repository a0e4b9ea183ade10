"""Charts by day, the picture of a lineage, and the line of an explanation."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from headwater.console.day_charts import DayLine, day_chart
from headwater.console.explained_timeline import timeline
from headwater.console.lineage_layout import lineage_picture
from headwater.results.lineage_result import Lineage, LineageEdge, LineageNode

DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(5)]


def chart(values, **more):
    return day_chart(
        "ages", DAYS[: len(values)], [DayLine("median", "a", values)], "{:g}".format, **more
    )


def test_a_gap_breaks_the_line_and_a_lone_day_is_a_dot():
    drawn = chart([1.0, 2.0, None, 4.0, 5.0])
    assert [len(points.split()) for _, points in drawn.paths] == [2, 2]
    assert len(drawn.dots) == 4
    assert (chart([3.0]).paths, len(chart([3.0]).dots)) == ([], 1)


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_is_no_chart(values):
    assert chart(values) is None


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 0.0], ["0"]),
        ([0.4, 9.0], ["0", "5", "10"]),
        ([-3.0, 3.0], ["-4", "-2", "0", "2", "4"]),
        ([1e9, 3e9], ["0", "1e+09", "2e+09", "3e+09"]),
    ],
)
def test_the_scale_has_round_numbers_and_holds_every_value(values, ticks):
    drawn = chart(values)
    assert [label for _, label in drawn.ticks][: len(ticks)] == ticks
    assert all(0 <= y <= drawn.bottom for _, _, y, _ in drawn.dots)


def test_a_limit_far_above_is_left_out():
    assert chart([1.0, 2.0], limit=(3.0, "promised")).limit is not None
    assert chart([1.0, 2.0], limit=(100.0, "promised")).limit is None


def test_every_edge_of_a_lineage_goes_to_the_right_and_no_box_covers_another():
    views = [LineageNode(f"view v{n}", "view", f"v{n}" * 20) for n in range(40)]
    sources = [LineageNode("source s", "source", "s"), LineageNode("source rich", "source", "rich")]
    service = LineageNode("service all", "service", "all")
    edges = [LineageEdge("source s", view.id) for view in views[:39]] + [
        LineageEdge("source rich", "view v39")
    ]
    edges += [
        LineageEdge("view v0", "source rich"),
        *(LineageEdge(view.id, "service all") for view in views),
    ]
    picture = lineage_picture(Lineage("p", [*sources, *views, service], edges))
    at = {box.node.id: (box.x, box.y) for box in picture.boxes}
    assert all(at[edge.start][0] + picture.box_width < at[edge.end][0] for edge in edges)
    assert len(set(at.values())) == len(at)
    assert max(y for _, y in at.values()) + picture.box_height <= picture.height
    assert all(len(box.label) <= 23 for box in picture.boxes)


def test_events_that_count_stand_above_the_line_and_near_ones_on_each_other():
    noon = datetime(2026, 3, 12, 12, tzinfo=UTC)
    times = [noon - timedelta(seconds=n) for n in range(3)] + [noon - timedelta(hours=3), None]
    events = pl.DataFrame(
        {
            "timestamp": times,
            "why": ["it counts"] * 3 + ["outside", "no time"],
            "counts": [True] * 3 + [False] * 2,
        }
    )
    line = timeline(events, noon)
    above = [event for event in line.events if event.counts]
    assert len({event.y for event in above}) == 3
    assert all(event.y < line.line for event in above)
    assert [event.y > line.line for event in line.events if not event.counts] == [True]
    assert line.says.startswith("3 events that count, 1 that do not")
    assert timeline(events.tail(1), noon) is None
