"""Every rendering of a backtest result, on results that are usual, sparse, regressive and
hostile.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import pytest
from jinja2 import UndefinedError
from msgspec import structs
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs
from rich.console import Console

from headwater.reports import axis, figures, to_html, to_notebook, to_table, to_text, wording
from headwater.reports.page import render
from headwater.reports.recommending import with_recommendation
from headwater.results.audit_result import AcknowledgedBy, AuditFinding, AuditResult
from headwater.results.backtest_result import (
    BacktestResult,
    FoldResult,
    LevelResult,
    Money,
    NewKeys,
    Transition,
)
from headwater.results.estimate import Comparison, Estimate, Verdict
from tests.backtesting.sample_result import METRICS, MIN_LIFT, Task, flights

NAN = float("nan")
NO_INTERVAL = "not proven: +0.019 without an interval: the test rows cover 3 days"
HOSTILE = "<script>alert('x')</script>"


def printed(result: BacktestResult, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, write_through=True)
    Console(file=stream, width=width).print(to_table(result))
    return raw.getvalue().decode(encoding)


def own_part(result: BacktestResult) -> str:
    """The page without plotly's bundle, which alone may hold addresses."""
    return to_html(result).replace(get_plotlyjs(), "")


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
    page, fragment = own_part(result), to_notebook(result)
    for text in (page, fragment, printed(result)):
        assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", words(text).lower())
    assert wording.verdict(result) in words(page) + words(fragment)
    assert len(fragment) < 60_000
    assert "<script" not in fragment


# --- JSON


def test_json_has_the_promised_shape() -> None:
    data = json.loads(json.dumps(flights().to_dict(), allow_nan=False))
    assert data["levels"][2]["name"] == "hourly"
    assert data["levels"][2]["kind"] == "batch"
    assert data["levels"][2]["metrics"]["auc"] == {"value": 0.764, "low": 0.749, "high": 0.780}
    assert set(data["levels"][2]["metrics"]) >= {"auc", "precision@10%", "recall@10%"}
    assert data["levels"][2]["coverage"] == 1.0
    first = data["comparisons"][0]
    assert (first["from"], first["to"], first["metric"], first["verdict"]) == (
        "request only",
        "daily",
        "auc",
        "not judged",
    )
    assert (data["recommendation"]["answer"], data["recommendation"]["level"]) == ("run", "minute")
    assert data["verdict"] == wording.verdict(flights())
    assert (first["delta"], first["low"], first["high"]) == (0.0189, -0.0044, 0.0405)
    assert [(part["name"], part["rows"]) for part in data["slices"]][2] == ("cold start", 959)
    assert len(data["slices"][0]["levels"]) == 5
    assert data["slices"][0]["comparisons"][0].keys() >= {
        "from",
        "to",
        "metric",
        "delta",
        "low",
        "high",
        "verdict",
    }
    assert data["audit"]["checks_run"][0] == "label rows"
    assert data["seconds"] == {"features": 21.4, "training": 38.9, "total": 63.2}
    assert data["split"]["train_rows"] == 105_396
    assert data["split"]["left_out"]["label is null"] == 9_430


@every_shape
@every_task
def test_json_is_read_back_as_it_was(change: Change, task: Task) -> None:
    result = changed(change, task)
    assert repr(BacktestResult.from_dict(json.loads(json.dumps(result.to_dict())))) == repr(result)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_what_json_cannot_write_becomes_null(value: float) -> None:
    level = structs.replace(
        flights().levels[0],
        metrics={"auc": Estimate(0.6, value, value)},
        coverage=value,
        replayed={"auc": value},
    )
    result = structs.replace(
        flights(),
        levels=[level],
        positive_rate=value,
        seconds={"total": value},
        min_lift={"auc": value},
    )
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["levels"][0]["metrics"]["auc"] == {"value": 0.6, "low": None, "high": None}
    assert (
        data["levels"][0]["coverage"]
        is data["positive_rate"]
        is data["seconds"]["total"]
        is data["min_lift"]["auc"]
        is None
    )


# --- words


def with_verdict(verdict: Verdict) -> BacktestResult:
    """The flights levels with this verdict on every fresher level."""
    result, delta = flights(), -0.02 if verdict == "harm" else 0.02
    judged = [
        structs.replace(step, verdict=verdict, delta=delta, low=delta - 0.01, high=delta + 0.01)
        if step in wording.judged(result)
        else step
        for step in result.comparisons
    ]
    return structs.replace(result, comparisons=judged, slices=[])


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (
            flights(),
            (
                "In AUC, compared with daily, hourly adds +0.104 [0.084, 0.120], minute adds "
                "+0.116 [0.095, 0.132] and instant adds +0.119 [0.098, 0.136]."
            ),
        ),
        (
            flights("regression"),
            (
                "In MAE, compared with daily, hourly lowers it by 1.98 [1.61, 2.36], minute "
                "lowers it by 2.27 [1.90, 2.66] and instant lowers it by 2.27 [1.90, 2.66]."
            ),
        ),
        (
            with_verdict("inconclusive"),
            (
                "In AUC, compared with daily, a lift from hourly, minute or instant is not proven "
                "(at most +0.030). A lift of +0.026 to +0.027, depending on the level, would have "
                "been detected in 80 % of cases."
            ),
        ),
        (
            with_verdict("harm"),
            (
                "In AUC, compared with daily, hourly costs −0.020 [−0.030, −0.010], minute costs "
                "−0.020 [−0.030, −0.010] and instant costs −0.020 [−0.030, −0.010]. A lift of "
                "+0.026 to +0.027, depending on the level, would have been detected in 80 % of "
                "cases."
            ),
        ),
        (one_level(flights()), ""),
        (two_levels(flights()), "In AUC, compared with daily, hourly adds +0.104 [0.084, 0.120]."),
    ],
)
def test_the_evidence_below_the_recommendation(result: BacktestResult, says: str) -> None:
    assert wording.rest(result) == says


def test_a_missing_interval_says_why() -> None:
    says = (
        "a lift from hourly, minute or instant is not proven (+0.019 without an interval: the "
        "test rows cover 3 days)"
    )
    assert says in wording.rest(no_intervals(flights()))


def test_slices_called_differently_are_the_conditions_main_step_first() -> None:
    found = dict(wording.exceptions(flights()))
    assert list(found) == ["before 08:00 (16,311 rows)"]
    assert found["before 08:00 (16,311 rows)"].startswith(
        "daily → minute: not proven (at most +0.032); daily → hourly: not proven "
    )


def test_a_cold_start_is_defined_in_its_table_and_says_whom_it_leaves_out() -> None:
    for text in (" ".join(printed(flights(), 200).split()), words(own_part(flights()))):
        assert "route and carrier with fewer than 10 departures in the last 30 days" in text
        assert "cold start: logs hold only people who stayed." in text
    assert wording.survivors(no_slices(flights())) == ""


def test_a_cold_start_of_all_rows_leaves_nobody_out() -> None:
    result = flights()
    whole = [structs.replace(part, rows=result.split.test_rows) for part in result.slices]
    assert wording.survivors(structs.replace(result, slices=whole)) == ""


@pytest.mark.parametrize(
    ("largest", "decimals"),
    [
        (0.779, 3),
        (1.0, 3),
        (5.0, 3),
        (21.4, 2),
        (214.0, 1),
        (12_345.0, 0),
        (0.012, 4),
        (0.0, 3),
        (NAN, 3),
    ],
)
def test_decimals_follow_the_size(largest: float, decimals: int) -> None:
    level = structs.replace(flights().levels[0], metrics={"auc": Estimate(largest, NAN, NAN)})
    assert wording.places(structs.replace(flights(), levels=[level]), "auc") == decimals


# --- terminal


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 100, 140])
@every_shape
def test_the_table_fits_its_console(change: Change, width: int, encoding: str) -> None:
    text = printed(changed(change), width, encoding)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_keeps_numbers_and_intervals_whole(width: int) -> None:
    text = printed(flights(), width)
    for whole in (
        "0.764",
        "[0.749, 0.780]",
        "[0.554, 0.704]",
        "batch, 45 min",
        "+0.104 [0.084, 0.120]",
        "LIFT",
        "replayed",
        "[0.301, 0.334]",
    ):
        assert whole in text


def test_the_table_says_the_verdict_first_and_then_the_rest_in_order() -> None:
    text = printed(flights())
    order = [
        "Run it as a job (minute)",
        "Levels",
        "Replayed:",
        "Differences in AUC",
        "Slices:",
        "left out:",
        "audit: no finding; 2 checks run",
        "data cannot show:",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert text.startswith(
        "Run it as a job (minute); do not build a stream. Of 100 flights you flag, 66 are late "
        "instead of 35."
    )


def test_the_table_shows_markup_as_it_is_written() -> None:
    assert "[bold red]" in printed(hostile(flights()), 200)


# --- page


def test_the_page_is_in_order() -> None:
    page = own_part(flights())
    order = ["verdict", "curve", "levels", "trust", "slices", "curves", "world", "definitions"]
    assert re.findall(r'<section id="(\w+)"', page) == order
    headings = re.findall(r"<h(\d)", page)
    assert headings.count("1") == 1
    assert all(int(after) <= int(before) + 2 for before, after in pairwise(headings))


def of_three_errors(result: BacktestResult) -> BacktestResult:
    levels = [
        structs.replace(level, metrics={**level.metrics, "wape": Estimate(0.4, 0.3, 0.5)})
        for level in result.levels
    ]
    return structs.replace(
        result, levels=levels, higher_is_better={**result.higher_is_better, "wape": False}
    )


def test_a_regression_has_no_curves_and_its_fall_is_a_gain() -> None:
    page = own_part(flights("regression"))
    assert 'id="curves"' not in page
    assert "A fall of MAE and RMSE counts as a gain." in page
    assert "A fall of MAE, RMSE and WAPE counts as a gain." in to_html(
        of_three_errors(flights("regression"))
    )
    assert "MAE (lower is better)" in page


def test_plotly_is_inside_once() -> None:
    assert to_html(flights()).count(get_plotlyjs()) == 1


def test_the_policy_allows_the_scripts_of_the_page_and_no_other() -> None:
    page = to_html(hostile(flights()))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(hashes) == 2


def test_a_name_that_a_template_does_not_have_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'verdict' is undefined"):
        render("backtest.html.j2", title="", style="", scripts=[], sections=[])


@every_shape
def test_nothing_is_fetched(change: Change) -> None:
    for text in (own_part(changed(change)), to_notebook(changed(change))):
        assert not re.search(
            r"https?:|//[a-z]|\bsrc=|\bhref=(?!\"#|\"data:text/csv)|@import|url\(", text
        )
    assert "default-src 'none'" in own_part(flights())


def test_user_strings_are_escaped_everywhere() -> None:
    result = hostile(flights())
    for text in (own_part(result), to_notebook(result)):
        assert HOSTILE not in text
        assert "alert(&#39;x&#39;)" in text
        assert not re.search(r"<script>alert|</script>alert", text)
    data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', own_part(result))
    assert data
    for plot in data:
        assert "<" not in plot
        # plotly reads tags, so its text is escaped as well
        assert "<script" not in json.dumps(json.loads(plot))


KNOWN = AcknowledgedBy("a queue is public", "Ada")
FOUND = AuditFinding(
    "label rows",
    "LEAK",
    "queue",
    "It knows the label's own rows",
    "Correct its timestamp",
    0.31,
    ["open_count_6h"],
)
ASKED = structs.replace(FOUND, severity="SUSPECT", brief="a queue is public")


def test_a_leak_takes_the_place_of_the_headline_and_is_told_once() -> None:
    result = with_recommendation(structs.replace(flights(), audit=AuditResult([FOUND])))
    assert result.verdict == "No verdict: a leak in 'queue'."
    for page in (own_part(result), printed(result), to_notebook(result), to_text(result)):
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
    assert own_part(result).index(
        "Do not trust these numbers until each of these is fixed"
    ) < own_part(result).index("<h1")


def test_a_suspicion_is_a_question_below_a_verdict_that_stands() -> None:
    result = with_recommendation(structs.replace(flights(), audit=AuditResult([ASKED])))
    assert (
        result.verdict
        == with_recommendation(structs.replace(flights(), audit=AuditResult())).verdict
    )
    says = (
        "Holds if a queue is public (label rows, 31 % of rows). It knows the label's own rows. "
        "Correct its timestamp. To answer: "
    )
    for page in (own_part(result), printed(result), to_notebook(result)):
        text = " ".join(html.unescape(page).split())
        assert "Run it as a job (minute)" in text
        assert text.count(says + "--acknowledge 'label rows | queue | REASON | AUTHOR'.") == 1
        assert text.index("Run it as a job (minute)") < text.index(says)
    assert "Holds if a queue is public (label rows)." in " ".join(to_text(result).split())


def test_at_most_three_questions_are_shown_those_of_the_verdict_first() -> None:
    odd = [
        structs.replace(
            ASKED, severity="question", subject=f"feature {n}", evidence=f"It is odd {n}"
        )
        for n in range(3)
    ]
    suspicions = [
        structs.replace(ASKED, subject=name, evidence=f"It knows {name}", brief=f"{name} is public")
        for name in ("one", "two")
    ]
    result = with_recommendation(structs.replace(flights(), audit=AuditResult([*odd, *suspicions])))
    for page in (own_part(result), printed(result), to_notebook(result)):
        text = " ".join(html.unescape(page).split())
        assert [f"It is odd {n}" in text for n in range(3)] == [True, False, False]
        assert all(f"It knows {name}" in text for name in ("one", "two"))
        assert "5 questions, 3 of them shown, all in the JSON" in text
    assert len(result.to_dict()["audit"]["findings"]) == 5


def test_an_answered_question_is_shown_as_a_condition() -> None:
    result = with_recommendation(
        structs.replace(flights(), audit=AuditResult([structs.replace(ASKED, acknowledged=KNOWN)]))
    )
    for page in (own_part(result), printed(result), to_notebook(result)):
        text = " ".join(html.unescape(page).split())
        assert "Run it as a job (minute)" in text
        assert (
            "Holds if these answers are right: label rows of queue (Ada: a queue is public)."
            in text
        )
        assert "To answer" not in text


def test_every_page_says_which_checks_ran_which_did_not_and_what_data_cannot_show() -> None:
    result = flights()
    for page in (
        own_part(result),
        printed(result),
        to_notebook(result),
        json.dumps(result.to_dict()),
    ):
        text = " ".join(html.unescape(page).split())
        for words in ("label rows", "static joins", "no static table", *result.audit.cannot_see):
            assert words in text
        assert "clean" not in text


def test_tables_and_figures_can_be_heard() -> None:
    page = own_part(flights())
    assert not re.search(r"<th(?! scope=)[ >]", page)
    pictures = re.findall(r'<div class="plot"[^>]*>', page)
    assert len(pictures) == 5
    assert all('role="img" aria-label="' in picture for picture in pictures)
    assert "hourly (45 min) 0.764 [0.749, 0.780]" in page


def test_every_identifier_is_used_once() -> None:
    names = re.findall(r'\bid="([^"]+)"', own_part(flights()))
    assert len(names) == len(set(names))


@every_shape
def test_plotly_accepts_the_figures(change: Change) -> None:
    result = changed(change)
    step = wording.main_step(result)
    plots = [
        figures.lift_curve(result),
        figures.rows_per_day(result),
        figures.precision_recall(result),
        figures.calibration(result),
    ]
    plots += [figures.slice_gains(result, step)] if step else []
    for plot in plots:
        if plot is not None:
            text = re.sub(r"var\(--[a-z0-9-]+\)", "#123456", json.dumps(plot, allow_nan=False))
            drawn = json.loads(text)
            for layout in (drawn["layout"], drawn["layout"] | drawn.pop("narrow", {})):
                Figure(drawn | {"layout": layout})


@pytest.mark.parametrize("change", [one_level, no_levels, no_values])
def test_no_curve_is_drawn_of_nothing(change: Change) -> None:
    assert figures.lift_curve(changed(change)) is None
    assert "so no curve can be drawn" in own_part(changed(change))


def test_every_colour_of_a_figure_is_in_the_style_sheet() -> None:
    page = own_part(flights())
    sheet = page[: page.index("</style>")]
    assert all(f"{name}:" in sheet for name in re.findall(r"var\((--[a-z0-9-]+)\)", page))


def test_an_age_of_zero_has_a_place_left_of_nothing() -> None:
    assert [point.at for point in axis.points(flights())] == [57_600.0, 2_700.0, 90.0, 1.0]
    assert axis.floor([0.0, 0.5]) == 0.05
    assert axis.floor([0.0]) == axis.floor([]) == 1.0


def test_the_sample_is_the_contract() -> None:
    """The builder compares what the result promises: each level with every fresher one, in every
    metric; one family is judged.
    """
    result = flights()
    names = [level.name for level in result.levels]
    assert {(step.from_, step.to, step.metric) for step in result.comparisons} == {
        (a, b, metric) for a, b in combinations(names, 2) for metric in METRICS["binary"]
    }
    assert [(step.from_, step.to) for step in wording.judged(result)] == [
        ("daily", name) for name in names[2:]
    ]
    assert set(result.min_lift) <= set(MIN_LIFT)


# ---- what only some backtests have


def whole() -> BacktestResult:
    """A result with folds, money, transitions, and a step that holds only by itself."""
    base = flights()
    names = [level.name for level in base.levels]
    cost = {
        name: Estimate(500.0 - 50 * i, 400.0 - 50 * i, 600.0 - 50 * i)
        for i, name in enumerate(names)
    }
    levels = [
        structs.replace(level, metrics={**level.metrics, "cost": cost[level.name]})
        for level in base.levels
    ]
    comparisons = [structs.replace(step, family=5, p=0.2) for step in base.comparisons]
    first = next(i for i, step in enumerate(comparisons) if step.verdict != "not judged")
    comparisons[first] = structs.replace(comparisons[first], low=0.001, verdict="inconclusive")
    comparisons += [
        Comparison(a, b, "cost", 50.0, 20.0, 80.0, 40.0, "not judged", "+50")
        for a, b in combinations(names, 2)
    ]
    new = structs.replace(base.slices[0], name="new keys")
    values = {name: {"auc": 0.61 + 0.01 * i} for i, name in enumerate(names)}
    return structs.replace(
        base,
        levels=levels,
        comparisons=comparisons,
        slices=[*base.slices, new],
        higher_is_better={**base.higher_is_better, "cost": False},
        min_lift={**base.min_lift, "cost": 2.5},
        intervals=(
            "95 % intervals from 2,000 resamples of 122 test days and 5 refits with other seeds."
        ),
        folds=[
            FoldResult(
                "2013-09-01T04:00:00+00:00", "2013-10-01T04:00:00+00:00", 105_396, 27_000, values
            ),
            FoldResult(
                "2013-10-01T04:00:00+00:00",
                "2013-11-01T04:00:00+00:00",
                132_396,
                28_000,
                {**values, "daily": {"auc": NAN}},
            ),
        ],
        money=Money({"false_positive": "5", "false_negative": 'col("<amount>")'}, 1_200.0, 4_000.0),
        new_keys=NewKeys(["tailnum"], 4.25, 1_234, 0.0113),
        transitions=[
            Transition(1, "daily", "hourly", (0.93, 1.0), (0.0, 1.0)),
            Transition(2, "hourly", "minute", (1.0, 1.0), (1.0, NAN)),
        ],
    )


SAID = [
    (
        "4.2 new tailnum keys a day request a prediction that was not precomputed: 1.1 % of all "
        "requests."
    ),
    (
        'Costs: false positive 5, false negative col("<amount>"). Per 1,000 requests flagging '
        "nothing "
        "costs 1,200.0, flagging everything 4,000.0."
    ),
    (
        "Verdicts are of the 5 levels against daily in AUC alone, and hold together (Holm); other "
        "differences have an interval, 95 % by itself, and no verdict."
    ),
    "The interval of daily → hourly excludes 0 by itself, but is not significant among them.",
    "95 % intervals from 2,000 resamples of 122 test days and 5 refits with other seeds.",
]


@pytest.mark.parametrize(
    "render",
    [
        lambda r: words(own_part(r)),
        lambda r: words(to_notebook(r)),
        lambda r: " ".join(printed(r).split()),
    ],
)
@pytest.mark.parametrize("said", SAID)
def test_every_rendering_says_what_verdicts_and_money_rest_on(
    said: str, render: Callable[[BacktestResult], str]
) -> None:
    assert said in render(whole())


def test_the_page_and_the_table_show_folds_transitions_and_money() -> None:
    page, table = own_part(whole()), printed(whole())
    assert [name for name in re.findall(r'<section id="(\w+)"', page) if name in ("transitions", "money", "folds")] == [
        "transitions", "money", "folds",
    ]  # fmt: skip
    told = words(page)
    assert (
        "1: on request, features as old as before daily → hourly 93 % → 100 % 0 % → 100 %" in told
    )
    assert "2013-10-01 132,396 28,000 0.610 – 0.630" in told
    assert "450.0 [350.0, 550.0]" in told
    assert "daily → hourly +50.0 [20.0, 80.0]" in told
    for text in (
        "From precomputed predictions",
        "93 % → 100 %",
        "AUC of each fold",
        "2013-10-01",
        "cost per 1,000",
    ):
        assert text in table


def test_a_usual_result_has_none_of_these_sections() -> None:
    page = own_part(flights())
    assert not any(f'<section id="{name}"' in page for name in ("transitions", "money", "folds"))
    assert "None" not in words(page).split()


def test_the_json_holds_them() -> None:
    found = json.loads(json.dumps(whole().to_dict(), allow_nan=False))
    assert found["folds"][1]["values"]["daily"]["auc"] is None
    assert found["money"]["nothing"] == 1200
    assert found["new_keys"] == {
        "keys": ["tailnum"],
        "per_day": 4.25,
        "requests": 1234,
        "share": 0.0113,
    }
    assert found["transitions"][1]["coverage_of_new"] == [1.0, None]
    assert (found["comparisons"][0]["p"], found["comparisons"][0]["family"]) == (0.2, 5)
    assert flights().to_dict()["money"] is None


def test_levels_of_one_age_are_not_joined_by_a_line() -> None:
    base = flights()
    same = structs.replace(
        base, levels=[structs.replace(level, age_seconds=60.0) for level in base.levels]
    )
    modes = [figures.lift_curve(result)["data"][0]["mode"] for result in (base, same)]
    assert modes == ["lines+markers", "markers"]
    assert ["<polyline" in to_notebook(result) for result in (base, same)] == [True, False]
