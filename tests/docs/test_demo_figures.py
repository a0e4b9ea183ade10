"""What README and docs say and draw of the demo is its own result, as tests/golden/demo.json keeps
it (scripts/demo_figures.py).
"""

import re

import pytest

from scripts.demo_figures import kept
from scripts.lift_picture import PICTURE, drawn
from tests.docs.pages import ROOT

RESULT = kept()
AUC = {level.name: level.metrics["auc"] for level in RESULT.levels}
# the curve has no level without history
AGED = [level.name for level in RESULT.levels if level.age_seconds is not None]
NUMBER = r"[+−-]?\d?\.\d{3}"


def number(text):
    return float(text.replace("−", "-"))


def intervals(svg):
    """Of each level, the interval that is drawn: the ends of its vertical line by the labels of the
    axis next to it.
    """
    labels = re.findall(r'<text x="52" y="([\d.]+)"[^>]*>(0\.\d+)</text>', svg)
    (y0, v0), (y1, v1) = ((float(y) - 4, float(value)) for y, value in (labels[0], labels[-1]))

    def value(y):
        return v0 + (float(y) - y0) * (v1 - v0) / (y1 - y0)

    ends = {
        float(x): (value(float(low)), value(float(high)))
        for x, high, low in re.findall(r'points="([\d.]+),([\d.]+) \1,([\d.]+)"', svg)
    }
    names = re.findall(r'<text x="([\d.]+)"[^>]*paint-order[^>]*>([^<]+) 0\.\d+</text>', svg)
    return {name: ends[float(x)] for x, name in names}


def test_the_picture_of_the_lift_has_the_intervals_of_the_result():
    found = intervals(PICTURE.read_text(encoding="utf-8"))
    assert list(found) == AGED
    for name, (low, high) in found.items():
        assert (low, high) == pytest.approx((AUC[name].low, AUC[name].high), abs=0.001), name


def test_the_picture_of_the_lift_is_that_of_its_script():
    assert PICTURE.read_text(encoding="utf-8") == drawn(RESULT)


def test_the_table_of_the_demo_has_the_figures_of_the_result():
    rows = re.findall(
        r"^\| (\S[^|]*?) \|[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$",
        (ROOT / "docs" / "demo.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    rows = [row for row in rows if row[0] in AUC]
    assert [row[0] for row in rows] == list(AUC)
    before = [None, *(row[0] for row in rows)]
    for (name, auc, precision, gain), above in zip(rows, before, strict=False):
        value = AUC[name]
        assert list(map(number, re.findall(NUMBER, auc))) == [
            round(x, 3) for x in (value.value, value.low, value.high)
        ], name
        level = next(level for level in RESULT.levels if level.name == name)
        assert number(precision.strip()) == round(level.metrics["precision@10%"].value, 3), name
        if above is None:
            assert not gain.strip()
            continue
        step = next(
            s for s in RESULT.comparisons if (s.from_, s.to, s.metric) == (above, name, "auc")
        )
        assert list(map(number, re.findall(NUMBER, gain))) == pytest.approx(
            [step.delta, step.low, step.high], abs=0.00051
        ), name
        assert ("LIFT" in gain) == (step.verdict == "LIFT"), name


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/demo.md"])
def test_each_page_with_the_picture_says_what_it_shows(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    (alt,) = re.findall(r"!\[([^\]]*)\]\((?:docs/)?lift\.svg\)", text)
    rounded = {name: f"{value.value:.2f}" for name, value in AUC.items()}
    assert rounded["minute"] == rounded["instant"]
    assert alt == (
        f"AUC against the age of features, with 95 % intervals: {rounded['request only']} from "
        f"the request alone, {rounded['daily']} with daily features, {rounded['hourly']} hourly, "
        f"{rounded['minute']} each minute and at request time"
    )
    if page != "docs/index.md":
        assert RESULT.verdict in text
