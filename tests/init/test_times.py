"""When an event is known in full, by the guesses of init; the averaged columns; and the windows
that it proposes.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli.projects import load
from headwater.init.guess import InitAnswers, guess
from headwater.init.tables import TableProfile
from headwater.init.write import project_file

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
DAYS, KEYS = 60, 30
ANSWERS = InitAnswers("asked", known_after="1h")


def times(seconds):
    return pl.Series((np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us")) + START


def totals():
    """One row per key and day with the day's total, and requests of each day whose outcome follows
    the total of that same day.
    """
    rng = np.random.default_rng(5)
    day, key = np.divmod(np.arange(DAYS * KEYS), KEYS)
    total = rng.poisson(3.0, DAYS * KEYS)
    table = pl.DataFrame(
        {"store": [f"s{k}" for k in key], "day": times(day * 86_400.0), "visits": total}
    )
    asked = np.sort(rng.uniform(5, DAYS, 3_000)) * 86_400
    who = rng.integers(0, KEYS, len(asked))
    today = total[(asked // 86_400).astype(int) * KEYS + who]
    labels = pl.DataFrame(
        {"store": [f"s{k}" for k in who], "asked": times(asked), "busy": (today > 3).astype(int)}
    )
    return table, labels


def drafted(folder, events, labels, answers=ANSWERS):
    """The guesses, the text of the project and the project."""
    paths = []
    for name, frame in (("events", events), ("labels", labels)):
        paths.append(str(folder / f"{name}.parquet"))
        frame.write_parquet(paths[-1])
    mine, theirs = map(TableProfile, paths)
    guesses = guess(mine, theirs, answers)
    text = project_file(mine, theirs, answers, guesses, "headwater init")
    (folder / "features.py").write_text(text, encoding="utf-8")
    return guesses, text, load(str(folder / "features.py")).project


def lift(project, known_after):
    """What `instant` adds to `daily`, and its verdict, with the events known after that."""
    model = project.models[0]
    views = [v for v in model.features.views if v.source.name == "events"]
    source = views[0].source
    import dataclasses

    changed = dataclasses.replace(source, known_after=known_after)
    service = hw.FeatureService("svc", [dataclasses.replace(v, source=changed) for v in views])
    levels = {"daily": hw.Level(hw.batch("1d", delay="4h")), "instant": hw.Level(hw.on_request())}
    of = hw.Model("m", task="binary", features=service, labels=model.labels)
    found = hw.backtest(of, levels, hw.Evaluation(resamples=50)).result
    return next(c for c in found.comparisons if c.metric == "auc")


@pytest.mark.slow
def test_daily_totals_give_no_false_lift(tmp_path):
    """At midnight, the total of the whole day is not known: taken as known, it lifts AUC; as init
    writes it, it does not.
    """
    _, text, project = drafted(tmp_path, *totals())
    assert 'known_after="1d"' in text
    assert "one row per store and day, so a row is a total" in text
    leaking, honest = lift(project, "0s"), lift(project, "1d")
    assert leaking.delta > 0.15
    assert not honest.lifts
    assert honest.delta < 0.03


def test_totals_of_dates_are_known_at_the_end_of_the_day(tmp_path):
    table, labels = totals()
    guesses, text, project = drafted(
        tmp_path,
        table.with_columns(pl.col("day").dt.date()),
        labels,
        InitAnswers("asked", known_after="1h", timezone="Europe/Oslo"),
    )
    source = next(s for s in project.sources if s.name == "events")
    assert (source.timezone, source.timestamp_field) == ("Europe/Oslo", "day")
    assert "cast(pl.Datetime" not in text[text.index("events = ") : text.index("outcomes = ")]
    assert guesses.time.columns[0].is_date


def test_past_outcomes_are_a_source_known_with_the_label(tmp_path):
    _, _, project = drafted(tmp_path, *totals(), InitAnswers("asked", known_after="2d"))
    outcomes = next(source for source in project.sources if source.name == "outcomes")
    assert (outcomes.known_after, outcomes.timestamp_field) == ("2d", "asked")
    view = next(view for view in project.all_views if view.source.name == "outcomes")
    assert min(f.window.length for f in view.outputs) > 2 * 86_400_000_000
