"""The page "Ten ways to fool yourself": its code runs, each example has its picture, and headwater says what the page claims."""

import re

import pytest

from scripts import ten_ways

TEXT = ten_ways.PAGE.read_text(encoding="utf-8")


def test_each_way_has_a_heading_code_and_a_picture():
    headings, pictures = re.findall(r"^## \d+\.", TEXT, re.MULTILINE), re.findall(r"!\[[^\]]+\]\((ten_ways/\d\d\.svg)\)", TEXT)
    assert len(headings) == 10
    assert len(ten_ways.blocks()) == len(pictures) == 11
    assert pictures == [f"ten_ways/{number:02}.svg" for number in range(11)]
    for picture in pictures:
        assert "<svg" in (ten_ways.PAGE.parent / picture).read_text(encoding="utf-8")


def test_a_picture_holds_the_words_and_the_curve():
    backtested, _ = next(ten_ways.examples())
    svg = ten_ways.picture(backtested.result, ["a < b " * 200])
    assert "a &lt; b" in svg
    assert svg.count("<svg") == 2
    assert svg.count('<text x="8"') == ten_ways.LINES


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_headwater_says_so():
    shown = [" ".join(says) for _, says in ten_ways.examples()]
    assert shown[0].startswith("Compute features at request time (instant). Of 100 pairs")
    expected = (
        (1, "LEAK in reports"),
        (3, "SUSPECT in reports"),
        (4, "SUSPECT in priority"),
        (5, "SUSPECT in machines"),
        (6, "no fresher level can be told from the staler one by the timestamps"),
        (7, "these 2 days only"),
        (8, " 0 are called a LIFT"),
        (9, "Cold start"),
        (10, "interleaving"),
    )
    for number, says in expected:
        assert re.search(says, shown[number]), (number, shown[number])
