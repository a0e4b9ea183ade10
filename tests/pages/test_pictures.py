"""Pictures: every mark inside the picture, gaps where values are missing, and text as it is
written.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.pages import figures
from headwater.pages.pictures import Curve, Limit, Mark, Row, Rows, Series, days, svg, ticks
from headwater.results.estimate import Estimate

VALUES = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-6)
MAYBE = st.one_of(VALUES, st.just(math.nan))


@st.composite
def estimates(draw):
    low, value, high = sorted(draw(st.tuples(VALUES, VALUES, VALUES)))
    known, open_ended = draw(st.booleans()), draw(st.booleans())
    ends = (low, math.inf if open_ended else high) if known else (math.nan, math.nan)
    return Estimate(draw(st.sampled_from([value, math.nan])), *ends)


def shapes(text):
    root = ET.fromstring(text)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    return root, width, height


def all_places(root):
    for element in root.iter():
        named = element.attrib
        for x, y in [("x", "y"), ("x1", "y1"), ("x2", "y2"), ("cx", "cy")]:
            if x in named:
                yield float(named[x]), float(named[y])
        for pair in named.get("points", "").split():
            x, _, y = pair.partition(",")
            yield float(x), float(y)


@given(
    st.lists(st.lists(st.tuples(VALUES, estimates()), max_size=6), max_size=3),
    st.lists(estimates(), max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_a_curve_draws_inside_its_box(values, limits, band, narrow):
    series = [
        Series(f"s{n}", [Mark(at, value, "v", name="n") for at, value in marks], n, band=band)
        for n, marks in enumerate(values)
    ]
    curve = Curve("y", "x", series, (), [Limit(limit, "limit") for limit in limits])
    root, width, height = shapes(svg(curve, "says", narrow=narrow))
    assert all(-1 <= x <= width + 1 and -1 <= y <= height + 1 for x, y in all_places(root))
    drawn = sum(math.isfinite(value.value) for marks in values for _, value in marks)
    assert sum(element.tag == "circle" for element in root.iter()) == drawn


@given(
    st.lists(estimates(), min_size=1, max_size=5),
    st.lists(estimates(), max_size=2),
    st.booleans(),
)
def test_rows_draw_inside_their_box_and_keep_the_rows_without_a_value(values, limits, narrow):
    rows = [Row(f"row {n}", "below", value, "says") for n, value in enumerate(values)]
    root, width, height = shapes(
        svg(Rows("gain", rows, [Limit(v) for v in limits]), "says", narrow=narrow)
    )
    assert all(-1 <= x <= width + 1 and -1 <= y <= height + 1 for x, y in all_places(root))
    texts = [element.text for element in root.iter() if element.tag == "text"]
    assert [text for text in texts if text and text.startswith("row ")] == [r.name for r in rows]


@given(VALUES, VALUES)
def test_ticks_are_round_few_and_inside(low, high):
    low, high = sorted((low, high))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-6):
        return
    made = ticks(low, high)
    assert 2 <= len(made) <= 8
    room = 1e-6 * (high - low)
    assert all(low - room <= at <= high + room for at, _ in made)
    assert len({text for _, text in made}) == len(made)


@pytest.mark.parametrize("hostile", ['<script>alert("x")</script>', "a & b 'c'", "{0} {x} %s"])
def test_text_is_shown_as_it_is_written(hostile):
    curve = Curve(
        hostile,
        hostile,
        [Series(hostile, [Mark(0.0, Estimate(1, 0, 2), hostile, hostile)])] * 2,
        [(0.0, hostile)],
        [Limit(Estimate(1, math.nan, math.nan), hostile)],
    )
    root, _, _ = shapes(svg(curve, hostile))
    texts = [element.text for element in root.iter() if element.tag in ("text", "title")]
    assert texts.count(hostile) >= 8
    assert root.attrib["aria-label"] == hostile


def test_days_are_at_their_times():
    at, named = days(["2024-03-01", "2024-03-02T00:00:00+00:00"])
    assert at[1] - at[0] == 86_400
    assert [name for _, name in named] == ["2024-03-01", "2024-03-02"]


def test_a_line_and_a_band_end_where_a_day_has_no_value():
    days = [date(2026, 3, day) for day in range(1, 7)]
    values = [1.0, 2.0, None, 3.0, 4.0, None]
    band = ([0.5, 1.0, None, 2.0, 3.0, None], [2.0, 3.0, None, 4.0, 5.0, None])
    picture = figures.by_day("age, h", days, {"median": values}, band=band, limit=(4.5, "promised"))
    root, _, _ = shapes(svg(picture, "ages"))
    lines = [
        e for e in root.iter() if e.tag == "polyline" and e.attrib["stroke-dasharray"] != "6 4"
    ]
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]
    assert sum(e.tag == "polygon" for e in root.iter()) == 2
    assert sum(e.tag == "circle" for e in root.iter()) == 4
    assert figures.by_day("age, h", days, {"median": [None] * 6}) is None
    far = figures.by_day("age, h", days, {"median": values}, limit=(400.0, "promised"))
    assert far.limits == []
