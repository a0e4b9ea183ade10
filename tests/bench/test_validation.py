"""The validation in short: a few runs of each group, how answers are added up, and how an
interrupted run goes on.
"""

import json

import pytest

from bench.validation import audit_cost, departures, predictions, questions, readings, runner
from bench.validation.__main__ import answered_earlier, main
from bench.validation.page import page

ASKED = {question.name: question for question in questions.questions()}


def of_group(group):
    return [question for question in ASKED.values() if question.group == group]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "KEPT", tmp_path)
    return tmp_path


@pytest.mark.long
def test_intervals_cover_the_true_lift():
    answers = [ASKED["coverage: days differ, 28 days"].ask(seed) for seed in range(150)]
    intervals = [answer[kind]["auc"] for answer in answers for kind in ("lift", "null")]
    assert (
        0.91 <= sum(i["low"] <= i["truth"] <= i["high"] for i in intervals) / len(intervals) <= 0.98
    )
    assert sum(answer["null"]["auc"]["verdict"] == "LIFT" for answer in answers) <= 0.06 * len(
        answers
    )


@pytest.mark.slow
def test_two_days_give_no_lift():
    assert {
        ASKED["coverage: 2 days"].ask(seed)["lift"]["auc"]["verdict"] for seed in range(10)
    } == {"inconclusive"}


@pytest.mark.long
def test_verdicts_follow_from_how_long_a_state_lasts():
    for seed in range(5):
        assert ASKED["verdicts: decaying, half-life 3 hours"].ask(seed)["verdict"] == "LIFT"
        assert ASKED["verdicts: lasting, half-life 7 months"].ask(seed)["verdict"] == "negligible"
    assert (
        sum(
            ASKED["verdicts: null: readings carry no information"].ask(seed)["verdict"] == "LIFT"
            for seed in range(20)
        )
        <= 2
    )


@pytest.mark.long
def test_intervals_that_include_training_cover_the_mean_lift():
    """After so little training there is a lift or a loss of the fitted models, though none of the
    procedure.
    """
    answers = [
        ASKED["training: 8 days of training, no information"].ask(seed) for seed in range(25)
    ]
    mean = sum(answer["delta"] for answer in answers) / len(answers)
    covered, of_fitted = (
        sum(of["low"] <= mean <= of["high"] for of in side)
        for side in (answers, [answer["fixed"] for answer in answers])
    )
    assert covered >= 22
    assert covered > of_fitted
    assert sum(answer["verdict"] in ("LIFT", "harm") for answer in answers) <= 2


def test_a_run_of_training_has_both_intervals():
    answer = ASKED["training: 24 days of training, no information"].ask(0)
    assert answer["delta"] == answer["fixed"]["delta"]
    for interval in (answer, answer["fixed"]):
        assert interval["low"] < interval["delta"] < interval["high"]
    assert answer["low"] <= answer["fixed"]["low"]
    assert answer["high"] >= answer["fixed"]["high"]


def test_a_verdict_has_the_level_that_the_page_recommends():
    answer = ASKED["verdicts: decaying, half-life 3 hours"].ask(0)
    assert (answer["answer"], answer["level"]) == ("run", "instant")
    assert list(answer["auc"]) == ["daily", "hourly", "instant"]


@pytest.mark.slow
def test_the_audit_is_timed_within_a_backtest():
    answer = ASKED["cost: world of departures, 200 requests a day"].ask(0)
    assert answer["alarms"] == []
    assert 0 < answer["audit"] < answer["total"]


def test_data_that_are_not_installed_are_not_measured(monkeypatch):
    monkeypatch.setitem(
        audit_cost.DATA,
        "nowhere",
        audit_cost.Data(lambda _: pytest.fail("prepared"), "no_such_package"),
    )
    assert audit_cost.cost("nowhere", 0) == {"missing": "no_such_package"}
    question = questions.Question("cost", "nowhere", lambda seed: {})
    assert "| nowhere | not measured: no_such_package is not installed |" in page(
        [question], {question.name: [{"missing": "no_such_package"}]}, "tuning"
    )


@pytest.mark.long
def test_the_plan_is_the_planted_view_alone():
    assert sum(ASKED["attribution: one view of six"].ask(seed)["right"] for seed in range(10)) >= 9


@pytest.mark.slow
def test_equal_levels_are_seldom_called_unequal():
    answers = [ASKED["equal: two equal levels"].ask(seed)["auc"] for seed in range(10)]
    assert sum(answer in ("LIFT", "harm") for answer in answers) <= 2


@pytest.mark.slow
def test_each_leak_adds_to_auc_where_it_is_strong():
    for name, kind in departures.LEAKS.items():
        answer = ASKED[f"leaks: {name}, {kind.strengths[-1]:g} {kind.unit}".rstrip()].ask(0)
        assert name == "the labels' own table" or answer["auc"] - answer["honest"] > 0.02, name


@pytest.mark.parametrize("world", [*predictions.WORLDS])
def test_drawn_predictions_depend_on_the_seed_alone(world):
    frames = [predictions.WORLDS[world].frame(seed) for seed in (3, 3, 4)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    assert frames[0]["day"].n_unique() == predictions.WORLDS[world].days


def test_held_out_seeds_are_no_tuning_seeds():
    assert questions.SEEDS["held-out"] - questions.SEEDS["tuning"] > max(questions.RUNS.values())
    assert questions.SEEDS["held-out"] + max(questions.RUNS.values()) < predictions.TRUTH_SEED


def test_a_run_that_was_interrupted_goes_on(kept, monkeypatch):
    asked = []
    question = questions.Question(
        "coverage", "2 days", lambda seed: asked.append(seed) or {"seed": seed, "low": float("nan")}
    )
    monkeypatch.setattr(runner, "questions", lambda: [question])
    runner.run([question], {"coverage": 2}, "tuning", processes=1)
    runner.run([question], {"coverage": 3}, "tuning", processes=1)
    assert asked == [0, 1, 2]
    assert runner.answered(question, "tuning", 3) == [
        {"seed": seed, "low": None} for seed in range(3)
    ]
    monkeypatch.setattr(runner, "_CODE", {"backtests": "other"})
    assert runner.answered(question, "tuning", 3) == []


def test_answers_of_earlier_code_are_named_where_there_are_no_others(kept, monkeypatch):
    questions_of = [
        questions.Question(
            "equal",
            "two equal levels",
            lambda seed: dict.fromkeys(("auc", "log_loss", "average_precision"), "LIFT"),
        )
    ]
    monkeypatch.setattr(runner, "questions", lambda: questions_of)
    for digest in ("first", "second"):
        monkeypatch.setattr(runner, "_CODE", {"backtests": digest})
        runner.run(questions_of, {"equal": 2}, "tuning", processes=1)
    assert answered_earlier(questions_of[0], "tuning", 5)[1] == "first"
    monkeypatch.setattr(runner, "_CODE", {"backtests": "third"})
    answers, digest = answered_earlier(questions_of[0], "tuning", 5)
    assert (len(answers), digest, runner.answered(questions_of[0], "tuning", 5)) == (
        2,
        "second",
        [],
    )
    name = questions_of[0].name
    assert "earlier version" not in page(questions_of, {name: answers}, "tuning")
    assert "All rows are runs of an earlier version of the code, second." in page(
        questions_of, {name: answers}, "tuning", {name: digest}
    )


def test_the_page_counts_what_is_wrong():
    leak = next(
        question for question in of_group("leaks") if question.world.startswith("daily totals, 20")
    )
    found = [
        {"honest": 0.6, "auc": 0.7, "accused": [], "found": ["LEAK: own outcome"]},
        {"honest": 0.6, "auc": 0.7, "accused": ["LEAK: own outcome"], "found": []},
        {"honest": 0.6, "auc": 0.61, "accused": [], "found": []},
    ]
    text = page([leak], {leak.name: found}, "tuning")
    assert "| daily totals, 20 machines | 3 | +0.070 | 33.3 % | LEAK: own outcome (1) |" in text
    assert "Of 2 detectable leaks that add 0.03 or more, 50.0 % are found" in text
    assert (
        "50.0 % get no verdict for it; the others found are questions below a verdict that stands."
        in text
    )
    assert "Missed: daily totals (1)." in text
    assert "Honest twins with a LEAK or SUSPECT: 1 of 3." in text


def test_the_page_counts_false_lifts_and_coverage():
    null, lift = (
        next(
            question
            for question in of_group("verdicts")
            if readings.WORLDS[question.world].lift == kind
        )
        for kind in ("none", "LIFT")
    )
    auc = {"auc": {"daily": 0.6, "hourly": 0.66, "instant": 0.661}, "answer": "run", "found": []}
    wrong = {
        "delta": 0.01,
        "low": 0.005,
        "high": 0.015,
        "verdict": "LIFT",
        "level": "instant",
    } | auc
    wrong["fixed"] = wrong
    missed = {
        "delta": 0.01,
        "low": 0.02,
        "high": 0.03,
        "verdict": "negligible",
        "level": "hourly",
    } | auc
    missed["fixed"] = missed | {"verdict": "harm"}
    text = page([null, lift], {null.name: [wrong], lift.name: [missed]}, "tuning")
    assert (
        "False LIFT, over the worlds without information: 100.0 % of 1 runs (goal: at most 5 %); "
        "false harm: 0.0 % of 1 runs"
    ) in text
    assert (
        'False "no lift worth having", over the worlds with a mean lift above 0.005: 100.0 % of 1 '
        "runs"
    ) in text
    assert f"| {lift.world} | 1 | +0.010 | 0 | 1 | 0 | 0 | 0.0 % | 0 | 1 |" in text
    assert f"| {null.world} | 1 | hourly | 0 | 0 | 1 | 0 | 0 |" in text
    assert f"| {lift.world} | 1 | hourly | 1 | 0 | 0 | 0 | 0 |" in text
    assert (
        "Of 2 recommendations 100.0 % name a level; of these 50.0 % name the right one, 0.0 % a "
        "staler and 50.0 % a fresher one (1 wrong)."
    ) in text


def test_a_page_that_cannot_decide_is_counted_apart():
    question = next(question for question in of_group("verdicts"))
    run = {
        "delta": 0.0,
        "low": -0.1,
        "high": 0.1,
        "verdict": "inconclusive",
        "level": "",
        "answer": "cannot decide",
        "found": [],
    }
    run |= {"auc": {"daily": 0.6, "hourly": 0.6, "instant": 0.6}, "fixed": run}
    text = page(
        [question], {question.name: [run, run | {"answer": "run", "level": "daily"}]}, "tuning"
    )
    assert f"| {question.world} | 2 | daily | 1 | 0 | 0 | 1 | 0 |" in text
    assert "In 50.0 % the page cannot decide." in text


def test_the_page_shows_both_intervals_of_training():
    question = next(
        question
        for question in of_group("training")
        if readings.TRAINING[question.world].lift == "none"
    )
    fixed = {"delta": 0.01, "low": 0.005, "high": 0.015, "verdict": "LIFT"}
    run = {"delta": 0.01, "low": -0.03, "high": 0.05, "verdict": "inconclusive", "fixed": fixed}
    text = page([question], {question.name: [run, run | {"delta": 0.05}]}, "tuning")
    assert (
        f"| {question.world} | 2 | +0.0300 | 0.0283 | 100.0 % | ±0.0400 | 0 | 0.0 % | ±0.0050 | 2 |"
        in text
    )
    assert (
        "0.0 % of 2 runs have a LIFT or harm by the interval of the procedure, and 100.0 % by "
        "that of the fitted models"
    ) in text


def test_metrics_that_are_not_judged_have_no_row():
    question = of_group("equal")[0]
    run = {"auc": "harm", "log_loss": "not judged", "average_precision": "not judged"}
    text = page([question], {question.name: [run]}, "tuning")
    assert "| auc | 0 | 1 | 100.0 % |" in text
    assert "log loss |" not in text


def test_the_page_has_what_the_audit_adds():
    question = of_group("cost")[0]
    text = page(
        [question],
        {question.name: [{"total": 12.0, "audit": 2.0, "rows": 1000, "alarms": []}]},
        "tuning",
    )
    assert f"| {question.world} | 1,000 | 12.0 | 2.00 | 20 % | none |" in text
    assert "At most it adds 20 % (goal: at most 50 %)." in text


def test_the_page_is_written_of_every_group_and_held_out_seeds_alone(kept, capsys):
    for arguments in (["--only", "equal"], ["--seeds", "tuning"]):
        with pytest.raises(SystemExit):
            main([*arguments, "--write"])
    assert main(["--only", "honest", "--runs", "1", "--seeds", "tuning", "--processes", "1"]) == 0
    assert "of 1 honest worlds" in capsys.readouterr().out
    (file,) = kept.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["seed"] == 0
