"""The validation in short: a few runs of each group, how answers are added up, and how an interrupted run goes on."""

import json

import pytest

from bench.validation import departures, predictions, questions, readings, runner
from bench.validation.__main__ import main
from bench.validation.page import page

ASKED = {question.name: question for question in questions.questions()}


def of_group(group):
    return [question for question in ASKED.values() if question.group == group]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "KEPT", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_intervals_cover_the_true_lift():
    answers = [ASKED["coverage: days differ, 28 days"].ask(seed) for seed in range(150)]
    intervals = [answer[kind]["auc"] for answer in answers for kind in ("lift", "null")]
    assert 0.91 <= sum(i["low"] <= i["truth"] <= i["high"] for i in intervals) / len(intervals) <= 0.98
    assert sum(answer["null"]["auc"]["verdict"] == "LIFT" for answer in answers) <= 0.06 * len(answers)


def test_two_days_give_no_lift():
    assert {ASKED["coverage: 2 days"].ask(seed)["lift"]["auc"]["verdict"] for seed in range(10)} == {"inconclusive"}


@pytest.mark.slow
def test_verdicts_follow_from_how_long_a_state_lasts():
    for seed in range(5):
        assert ASKED["verdicts: decaying, half-life 3 hours"].ask(seed)["verdict"] == "LIFT"
        assert ASKED["verdicts: lasting, half-life 7 months"].ask(seed)["verdict"] == "negligible"
    assert sum(ASKED["verdicts: null: readings carry no information"].ask(seed)["verdict"] == "LIFT" for seed in range(20)) <= 2


@pytest.mark.slow
def test_the_plan_is_the_planted_view_alone():
    assert sum(ASKED["attribution: one view of six"].ask(seed)["right"] for seed in range(10)) >= 9


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
    question = questions.Question("coverage", "2 days", lambda seed: asked.append(seed) or {"seed": seed, "low": float("nan")})
    monkeypatch.setattr(runner, "questions", lambda: [question])
    runner.run([question], {"coverage": 2}, "tuning", processes=1)
    runner.run([question], {"coverage": 3}, "tuning", processes=1)
    assert asked == [0, 1, 2]
    assert runner.answered(question, "tuning", 3) == [{"seed": seed, "low": None} for seed in range(3)]
    monkeypatch.setattr(runner, "_CODE", ["other"])
    assert runner.answered(question, "tuning", 3) == []


def test_the_page_counts_what_is_wrong():
    leak = next(question for question in of_group("leaks") if question.world.startswith("daily totals, 20"))
    found = [
        {"honest": 0.6, "auc": 0.7, "accused": [], "found": ["LEAK: own outcome"]},
        {"honest": 0.6, "auc": 0.7, "accused": ["LEAK: own outcome"], "found": []},
        {"honest": 0.6, "auc": 0.61, "accused": [], "found": []},
    ]
    text = page([leak], {leak.name: found}, "tuning")
    assert "| daily totals, 20 machines | 3 | +0.070 | 33.3 % | LEAK: own outcome (1) |" in text
    assert "Of 2 detectable leaks that add 0.03 or more, 50.0 % are found" in text
    assert "Missed: daily totals (1)." in text
    assert "Honest twins with a LEAK or SUSPECT: 1 of 3." in text


def test_the_page_counts_false_lifts_and_coverage():
    null, lift = (
        next(question for question in of_group("verdicts") if readings.WORLDS[question.world].lift == kind) for kind in ("none", "LIFT")
    )
    wrong = {"delta": 0.01, "low": 0.005, "high": 0.015, "verdict": "LIFT", "found": []}
    missed = {"delta": 0.01, "low": 0.02, "high": 0.03, "verdict": "negligible", "found": []}
    text = page([null, lift], {null.name: [wrong], lift.name: [missed]}, "tuning")
    assert "False LIFT, over the worlds without information: 100.0 % of 1 runs" in text
    assert 'False "no lift worth having", over the worlds with a mean lift above 0.005: 100.0 % of 1 runs' in text
    assert f"| {lift.world} | 1 | +0.010 | 0 | 1 | 0 | 0 | 0.0 % |" in text


def test_the_page_is_written_of_every_group_and_held_out_seeds_alone(kept, capsys):
    for arguments in (["--only", "equal"], ["--seeds", "tuning"]):
        with pytest.raises(SystemExit):
            main([*arguments, "--write"])
    assert main(["--only", "honest", "--runs", "1", "--seeds", "tuning", "--processes", "1"]) == 0
    assert "of 1 honest worlds" in capsys.readouterr().out
    (file,) = kept.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["seed"] == 0
