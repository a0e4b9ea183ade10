"""Every rendering of a backtest result, on results that are usual, sparse, regressive and
hostile.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable, Sequence

import pytest
from msgspec import structs
from rich.console import Console

from headwater.pages import wording
from headwater.pages.recommending import with_recommendation
from headwater.results.audit_result import AuditFinding, AuditResult
from headwater.results.backtest_result import (
    BacktestResult,
    LevelResult,
)
from headwater.results.estimate import Comparison, Estimate, Verdict
from tests.backtesting.sample_result import METRICS, Task, flights
from tests.pages.backtest_forms import to_html, to_markdown, to_notebook, to_table, to_text

NAN = float("nan")
NO_INTERVAL = "not proven: +0.019 without an interval: the test rows cover 3 days"
HOSTILE = "<script>alert('x')</script>"


def printed(result: BacktestResult, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, write_through=True)
    Console(file=stream, width=width).print(to_table(result))
    return raw.getvalue().decode(encoding)


def words(page: str) -> str:
    """What a reader of a page reads, in one line."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def one_level(result: BacktestResult) -> BacktestResult:
    return structs.replace(result, levels=result.levels[:1], comparisons=[], slices=[])


def two_levels(result: BacktestResult) -> BacktestResult:
    step = [one for one in result.comparisons if (one.from_, one.to) == ("daily", "hourly")]
    return structs.replace(result, levels=result.levels[1:3], comparisons=step, slices=[])


def no_levels(result: BacktestResult) -> BacktestResult:
    return structs.replace(result, levels=[], comparisons=[], slices=[])


def no_slices(result: BacktestResult) -> BacktestResult:
    return structs.replace(result, slices=[])


def no_intervals(result: BacktestResult) -> BacktestResult:
    levels = [
        structs.replace(
            level,
            metrics={name: Estimate(one.value, NAN, NAN) for name, one in level.metrics.items()},
        )
        for level in result.levels
    ]
    comparisons = [
        structs.replace(
            step, low=NAN, high=NAN, mde=NAN, verdict=_unsure(step), sentence=NO_INTERVAL
        )
        for step in result.comparisons
    ]
    return structs.replace(result, levels=levels, comparisons=comparisons)


def _unsure(step: Comparison) -> Verdict:
    return "not judged" if step.verdict == "not judged" else "inconclusive"


def no_values(result: BacktestResult) -> BacktestResult:
    levels = [
        structs.replace(level, metrics=dict.fromkeys(level.metrics, Estimate(NAN, NAN, NAN)))
        for level in result.levels
    ]
    comparisons = [
        structs.replace(step, delta=NAN, low=NAN, high=NAN, mde=NAN, verdict=_unsure(step))
        for step in result.comparisons
    ]
    return structs.replace(result, levels=levels, comparisons=comparisons)


def missing_metric(result: BacktestResult) -> BacktestResult:
    return structs.replace(
        result, levels=[structs.replace(result.levels[0], metrics={}), *result.levels[1:]]
    )


def bare(result: BacktestResult) -> BacktestResult:
    """Nothing that may be empty is filled."""
    split = structs.replace(result.split, left_out={}, label_delay_seconds={}, rows_per_day=[])
    levels = [structs.replace(level, curves=None, replayed={}) for level in result.levels]
    return structs.replace(
        result,
        split=split,
        levels=levels,
        slices=[],
        audit=AuditResult(),
        assumptions=[],
        encoded={},
        versions={},
        seconds={},
        min_lift={},
    )


def many_levels(result: BacktestResult) -> BacktestResult:
    levels = [
        structs.replace(result.levels[2], name=f"a level named number {n}", age_seconds=4.0**n)
        for n in range(9)
    ]
    return structs.replace(result, levels=levels, comparisons=[], slices=[])


def all_fresh(result: BacktestResult) -> BacktestResult:
    return structs.replace(
        result, levels=[structs.replace(level, age_seconds=0.0) for level in result.levels]
    )


def hostile(result: BacktestResult) -> BacktestResult:
    """Every string that a user can choose is markup, for HTML and for rich, and holds a terminal's
    control code.
    """
    name = HOSTILE + "[bold red]\x1b[31m"
    names = {level.name: f"{name}{index}" for index, level in enumerate(result.levels)}
    levels = _renamed(result.levels, names)
    comparisons = [
        structs.replace(step, from_=names[step.from_], to=names[step.to])
        for step in result.comparisons
    ]
    parts = [
        structs.replace(
            part,
            name=name,
            describes=name,
            note=name,
            levels=_renamed(part.levels, names),
            comparisons=comparisons,
        )
        for part in result.slices
    ]
    return structs.replace(
        result,
        model=name,
        baseline=names["daily"],
        labels=name,
        label=name,
        levels=levels,
        comparisons=comparisons,
        slices=parts,
        audit=AuditResult([AuditFinding("label rows", "LEAK", name, name, name, 0.5, [name])]),
        split=structs.replace(result.split, left_out={name: 3}),
        definitions=name,
        fingerprint=name,
        versions={name: name},
        assumptions=[name],
        estimator=name,
        encoded={name: 3},
    )


def _renamed(levels: Sequence[LevelResult], names: dict[str, str]) -> list[LevelResult]:
    return [
        structs.replace(level, name=names[level.name], describes=level.name + HOSTILE, note=HOSTILE)
        for level in levels
    ]


Change = Callable[[BacktestResult], BacktestResult]


def changed(change: Change, task: Task = "binary") -> BacktestResult:
    """A result of this shape, with the recommendation that follows from it."""
    return with_recommendation(change(flights(task)))


SHAPES: list[Change] = [
    lambda result: result, one_level, two_levels, no_levels, no_slices, no_intervals, no_values, missing_metric, bare, many_levels, all_fresh, hostile,
]  # fmt: skip
every_shape = pytest.mark.parametrize(
    "change", SHAPES, ids=lambda change: change.__name__.strip("<>")
)
every_task = pytest.mark.parametrize("task", METRICS)


@every_shape
@every_task
def test_every_shape_of_result_is_rendered_every_way(change: Change, task: Task) -> None:
    result = changed(change, task)
    json.dumps(result.to_dict(), allow_nan=False)
    page, fragment = to_html(result), to_notebook(result)
    for text in (page, fragment, printed(result)):
        assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", words(text).lower())
    assert wording.verdict(result) in words(page) + words(fragment)
    assert len(fragment) < 60_000
    assert "<script" not in fragment


# --- JSON


@every_shape
@every_task
def test_json_is_read_back_as_it_was(change: Change, task: Task) -> None:
    result = changed(change, task)
    assert repr(BacktestResult.from_dict(json.loads(json.dumps(result.to_dict())))) == repr(result)


# --- words


# --- terminal


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 100, 140])
@every_shape
def test_the_table_fits_its_console(change: Change, width: int, encoding: str) -> None:
    text = printed(changed(change), width, encoding)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text


def test_the_table_shows_markup_as_it_is_written() -> None:
    assert "[bold red]" in printed(hostile(flights()), 200)


# --- page


def test_the_page_has_no_script_and_weighs_little() -> None:
    page = to_html(hostile(flights()))
    assert "<script" not in page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "script-src" not in policy
    assert len(page) < 200_000


@every_shape
def test_nothing_is_fetched(change: Change) -> None:
    for text in (to_html(changed(change)), to_notebook(changed(change))):
        assert not re.search(
            r"https?:|//[a-z]|\bsrc=|\bhref=(?!\"#|\"data:text/csv)|@import|url\(", text
        )
    assert "default-src 'none'" in to_html(flights())


def test_user_strings_are_escaped_everywhere() -> None:
    result = hostile(flights())
    for text in (to_html(result), to_notebook(result)):
        assert HOSTILE not in text
        assert "alert(&#39;x&#39;)" in text
        assert not re.search(r"<script>alert|</script>alert", text)


FOUND = AuditFinding(
    "label rows",
    "LEAK",
    "queue",
    "It knows the label's own rows",
    "Correct its timestamp",
    0.31,
    ["open_count_6h"],
)


def test_a_leak_takes_the_place_of_the_headline_and_is_told_once() -> None:
    result = with_recommendation(structs.replace(flights(), audit=AuditResult([FOUND])))
    assert result.verdict == "No verdict: a leak in 'queue'."
    for page in (to_html(result), printed(result), to_notebook(result), to_text(result)):
        text = " ".join(html.unescape(page).split())
        assert result.verdict in text
        assert (
            text.count(
                "LEAK: queue (label rows, 31 % of rows): It knows the label's own rows. Correct "
                "its timestamp."
            )
            == 1
        )
        assert text.count("It knows the label's own rows") == 1
        assert "Run it" not in text
        assert "LIFT" not in text
        assert "Do not trust these numbers until each of these is fixed" in text


def test_every_page_says_which_checks_ran_which_did_not_and_what_data_cannot_show() -> None:
    result = flights()
    for page in (
        to_html(result),
        printed(result),
        html.unescape(to_markdown(result)).replace("\\", ""),
        json.dumps(result.to_dict()),
    ):
        text = " ".join(html.unescape(page).split())
        for words in ("label rows", "static joins", "no static table", *result.audit.cannot_see):
            assert words in text
        assert "clean" not in text
