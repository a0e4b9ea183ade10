"""The validation of experiments in short: errors of every estimator, looks, worlds, faults, false
alarms, and how the page counts.
"""

import math

import pytest

from bench.validation import __main__ as command
from bench.validation import (
    experiment_estimators,
    experiment_health,
    experiment_looks,
    experiment_worlds,
    questions,
    runner,
)
from bench.validation.experiment_page import COVERAGE, NEAR
from bench.validation.page import page, with_sections
from bench.validation.page_text import AFTER, BEFORE, TEXTS
from tests.effort import FULL

ASKED = {question.name: question for question in questions.questions()}
SHORT = ("mean", "mean with CUPED", "ratio", "switchback, 20 regions, 48 buckets, t")
LONGER = (
    "switchback, 6 regions, 48 buckets, randomisation",
    "off-policy, IPS",
    "off-policy, SNIPS",
    "off-policy, DR with a wrong model",
)
SEEDS = 10


def _sums(answers):
    return {key: sum(answer[key] for answer in answers) for key in answers[0]}


def _near(rate, expected, runs):
    # sixty such checks, of seeds that are fixed
    return abs(rate - expected) <= 3.3 * math.sqrt(expected * (1 - expected) / runs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.long]
            if name in LONGER
            else []
            if name in SHORT
            else [pytest.mark.slow],
        )
        for name in experiment_estimators.ESTIMATORS
    ],
)
def test_an_estimator_has_its_error_coverage_and_power(name):
    of = _sums([ASKED[f"estimators: {name}"].ask(seed) for seed in range(SEEDS)])
    assert of["of"] >= 2_000
    assert _near(of["false"] / of["of"], 0.05, of["of"])
    assert of["covered"] / of["of"] >= COVERAGE
    known = experiment_estimators.ESTIMATORS[name].power
    assert known is None or abs(of["found"] / of["of"] - known) <= NEAR


@pytest.mark.long
@pytest.mark.parametrize("name", experiment_looks.RULES)
def test_twenty_looks_have_the_error_of_one(name):
    of = _sums([ASKED[f"looks: {name}"].ask(seed) for seed in range(20)])
    rule = experiment_looks.RULES[name]
    assert of["of"] >= 2_000
    assert (
        of["false"] / of["of"] <= 0.02
        if rule.sequence
        else _near(of["false"] / of["of"], 0.05, of["of"])
    )
    assert min(of["covered"], of["always"]) / of["of"] >= COVERAGE
    assert rule.power is None or abs(of["found"] / of["of"] - rule.power) <= NEAR


def test_uneven_looks_are_others_in_each_seed():
    first, second = (experiment_looks._units(seed, uneven=True) for seed in (1, 2))
    assert first != second
    assert first == sorted(set(first))
    assert len(first) == experiment_looks.LOOKS
    assert first[-1] == experiment_looks.UNITS


@pytest.mark.long
@pytest.mark.parametrize("name", experiment_worlds.CASES)
def test_the_worlds_are_those_of_the_tables(name):
    case = experiment_worlds.CASES[name]
    answers = [ASKED[f"worlds: {name}"].ask(seed) for seed in range(3)]
    truth = sum(answer["truth"] for answer in answers) / len(answers)
    assert case.truth is None or truth == pytest.approx(case.truth, abs=0.015)
    for design, (_, mean, goal) in case.designs.items():
        lifts = [lift for answer in answers for lift in answer["designs"][design]]
        if mean is not None:
            assert sum(lift[0] for lift in lifts) / len(lifts) == pytest.approx(mean, abs=0.02), (
                design
            )
        covered = sum(low <= truth <= high for _, low, high in lifts) / len(lifts)
        assert goal is None or covered >= goal - 3 * math.sqrt(goal * (1 - goal) / len(lifts)), (
            design
        )


@pytest.mark.parametrize("name", experiment_health.FAULTS)
def test_what_is_planted_is_flagged(name):
    seeds = 20 if FULL else 5
    answers = [ASKED[f"faults: {name}"].ask(seed) for seed in range(seeds)]
    assert sum(answer["flagged"] for answer in answers) >= 0.95 * seeds
    assert all(set(answer["blocking"]) <= {experiment_health.FAULTS[name][0]} for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(experiment_health.HONEST))
def test_honest_experiments_are_seldom_blocked(kind):
    blocked = [seed for seed in range(5) if ASKED[f"sound: {kind}"].ask(seed)["blocking"]]
    assert len(blocked) <= 1, blocked


# ---------------------------------------------------------------- the page


def test_the_page_says_what_is_outside_the_goals():
    question = ASKED["estimators: proportion"]
    good = {"of": 200, "false": 10, "false_above": 5, "covered": 190, "found": 25}
    text = page([question], {question.name: [good, good]}, "tuning")
    assert "| proportion | 400 each | 5.00 % | 50 % | 95.0 % | 12.5 % | 12.4 % |" in text
    assert "All are within the goals." in text
    text = page(
        [question], {question.name: [good | {"false": 25, "covered": 180, "found": 50}]}, "tuning"
    )
    assert (
        "Outside the goals: proportion: false positives of 12.50 %; proportion: coverage of 90.0 "
        "%; proportion: power of 25.0 %."
    ) in text


def test_the_page_counts_looks_worlds_faults_and_alarms():
    def shown(name, answers):
        return page([ASKED[name]], {name: answers}, "tuning")

    look = {"of": 100, "false": 20, "found": 57, "covered": 99, "always": 95, "stops": 80.0}
    text = shown("looks: O'Brien-Fleming, proportion", [look])
    assert "| 100 each | 20.00 % | 57.0 % | 57.8 % | 99.0 % | 95.0 % | 80 % |" in text
    assert "Outside the goals: O'Brien-Fleming, proportion: false positives of 20.00 %." in text
    designs = {"A/B by user": [[0.11, 0.08, 0.14], [0.12, -0.01, 0.25]]}
    text = shown(
        "worlds: recommender loop, log split by arm", [{"truth": 0.12, "designs": designs}]
    )
    assert "Recommender loop, log split by arm: the true lift is +12.0% (research: +12.0%)." in text
    assert "| A/B by user | 2 | +11.5% | +11.3% | -0.5 | 0.7 | 100.0 % | 90 % | 50 % |" in text
    text = shown("faults: outcomes arrive late", [{"flagged": False, "blocking": ["bots"]}])
    assert "| outcomes arrive late | matured outcomes | 1 | 0 | bots (1) |" in text
    text = shown("sound: A/B test", [{"blocking": ["age"]}, {"blocking": []}])
    assert "| A/B test | 2 | 1 (50.00 %) | age (1) |" in text
    assert "Outside the goals: A/B test: 1 of 2." in text


def test_the_sections_of_one_part_replace_their_own_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "KEPT", tmp_path)
    monkeypatch.setattr(command, "PAGE", tmp_path / "validation.md")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    cost, sound = (TEXTS[group].partition("\n")[0] for group in ("cost", "sound"))
    command.PAGE.write_text(
        f"{BEFORE}\n\n{cost}\n\nkept\n\n{sound}\n\nold\n\n{AFTER}\n", encoding="utf-8"
    )
    few = dict.fromkeys(questions.RUNS, 1)
    monkeypatch.setattr(command, "RUNS", few)
    monkeypatch.setattr(
        command,
        "questions",
        lambda: [ASKED["sound: A/B test"], ASKED["faults: outcomes arrive late"]],
    )
    assert command.main(["--part", "experiments", "--processes", "1", "--write"]) == 0
    text = command.PAGE.read_text(encoding="utf-8")
    assert "kept" in text
    assert "old" not in text
    assert "| A/B test | 1 | 0 (0.00 %) | none |" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        cost,
        TEXTS["faults"].partition("\n")[0],
        sound,
        AFTER.partition("\n")[0],
    ]
    with pytest.raises(SystemExit):
        command.main(["--part", "experiments", "--only", "sound", "--write"])


def test_a_page_without_the_part_gets_it_before_the_last_section():
    cost, sound = (TEXTS[group].partition("\n")[0] for group in ("cost", "sound"))
    text = with_sections(
        f"begin\n\n{cost}\n\nkept\n\n{AFTER}\n",
        f"other begin\n\n{sound}\n\nnew\n\n{AFTER}\n",
        ["sound"],
    )
    assert text == f"begin\n\n{cost}\n\nkept\n\n{sound}\n\nnew\n\n{AFTER}\n"


def test_each_part_has_a_digest_of_its_own():
    assert (
        runner.code("sound") == runner.code("worlds") != runner.code("leaks") == runner.code("cost")
    )
