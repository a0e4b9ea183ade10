"""The page "Ten ways to fool yourself": its code runs, each example has its picture, and headwater
says what the page claims.
"""

import re

import pytest

import headwater as hw
from headwater.definitions import evaluations
from scripts import ten_ways


def words(svg: str) -> str:
    """What a picture says, without figures, which depend a little on versions of libraries."""
    return re.sub(r"[\d.,+-]+", "#", " ".join(re.findall(r'<text x="8"[^>]*>([^<]*)<', svg)))


def figures(svg: str) -> list[float]:
    """The values and intervals of its curve."""
    return [
        float(figure)
        for figure in re.findall(r"\d\.\d{3}", re.search(r'aria-label="([^"]*)"', svg)[1])
    ]


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_headwater_says_so(monkeypatch):
    monkeypatch.setattr(evaluations, "USUAL_REFITS", hw.evaluation.Refits())
    examples = list(ten_ways.examples())
    for number, (backtested, says) in enumerate(examples):
        drawn, kept = (
            ten_ways.picture(backtested.result, says),
            (ten_ways.PAGE.parent / f"ten_ways/{number:02}.svg").read_text("utf-8"),
        )
        assert (words(kept), number) == (words(drawn), number), "run python -m scripts.ten_ways"
        assert figures(kept) == pytest.approx(figures(drawn), abs=0.004), (
            f"{number}: run python -m scripts.ten_ways"
        )
    shown = [" ".join(says) for _, says in examples]
    assert shown[0].startswith("Compute features at request time (instant). Of 100 pairs")
    expected = (
        (1, "^No verdict: a leak in 'reports'"),
        (3, "^No verdict: a leak in 'reports'"),
        (4, "Holds if 'priority' is written before the outcome"),
        (5, "Holds if 'usual' of source 'machines' was known before the requests"),
        (
            6,
            (
                "instant cannot be told from hourly, since the timestamps 'ended' .* resolution of "
                "one day"
            ),
        ),
        (7, "these 2 days only"),
        (8, " 0 are called a LIFT"),
        (9, "Cold start"),
        (10, "interleaving"),
    )
    for number, says in expected:
        assert re.search(says, shown[number]), (number, shown[number])
