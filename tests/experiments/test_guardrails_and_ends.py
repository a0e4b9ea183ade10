"""What an experiment says where it does not know: a guardrail that is not proven, and an end that
shows nothing.
"""

import json
import re
from datetime import timedelta

import pytest

from headwater.cli import main
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import ExperimentStore
from tests.experiments.analysis_world import START, World, micros

PROJECT = """
import headwater as hw
from tests.experiments.analysis_world import World

world = World(seed={seed}, users={users}, effect={effect}, looks=2)
world.guardrails = (hw.experiments.ExperimentMetric("amount", value=world.outcome(hw.sum("amount")), margin={margin}, higher_is_better={better}),)
project = world.project()
"""


@pytest.fixture
def analysed(tmp_path, monkeypatch, capsys):
    """Analyse an experiment that ran in a folder, as a user does: its JSON, the output without
    --json, the exit code, the page.
    """

    def run(
        *,
        effect,
        users=2_000,
        seed=3,
        margin=0.05,
        better=True,
        at="2026-03-15T00:00Z",
        stopped=None,
        exposed=True,
    ):
        text = PROJECT.format(seed=seed, users=users, effect=effect, margin=margin, better=better)
        (tmp_path / "features.py").write_text(text, encoding="utf-8")
        world = World(seed=seed, users=users, effect=effect, looks=2)
        store = ExperimentStore(tmp_path / "models")
        store.start(world.plan(guardrails=("amount",)), micros(START), "ann")
        shown = world.exposures.sort("at")
        if stopped is not None:
            store.stop("fresh", micros(stopped), "ann", "enough")
            shown = shown.filter(shown["at"] < stopped)
        if exposed:
            with ExposureLog(tmp_path) as log:
                rows = shown.select(
                    "unit", "arm", "at", "request", "propensity", "age", "promised_age"
                ).rows()
                log.put(
                    "fresh",
                    1,
                    [
                        Exposure(unit, arm, round(then.timestamp() * 1e6), *more)
                        for unit, arm, then, *more in rows
                    ],
                )
        monkeypatch.chdir(tmp_path)
        command = [
            "experiment",
            "analyse",
            "fresh",
            "--models",
            "models",
            "--data-dir",
            str(tmp_path),
            "--at",
            at,
        ]
        code = main([*command, "--json", "--markdown", "page.md"])
        printed = capsys.readouterr()
        assert printed.out, printed.err
        result = json.loads(printed.out)
        assert main(command) == code
        printed = capsys.readouterr()
        page = re.sub(
            r"<script>.*?</script>",
            "",
            (tmp_path / "experiment.html").read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        texts = [
            " ".join(text.split())
            for text in (printed.out, page, (tmp_path / "page.md").read_text(encoding="utf-8"))
        ]
        return result, texts, printed.err, code

    return run


@pytest.mark.parametrize(
    ("margin", "state", "decision", "code"),
    [
        (0.9, "within", "real-time", 0),
        pytest.param(0.4, "not proven", "real-time", 0, marks=pytest.mark.slow),
        (0.02, "worse", "harm", 1),
    ],
)
def test_a_guardrail_is_within_worse_or_not_proven(analysed, margin, state, decision, code):
    """Orders rise by 40 %, and so does the spending; here a rise of that is harm."""
    result, texts, err, exit_code = analysed(effect=0.4, margin=margin, better=False)
    (rail,) = [metric for metric in result["metrics"] if metric["role"] == "guardrail"]
    low, high = rail["lift"]["low"], rail["lift"]["high"]
    assert state == ("within" if high < margin else "worse" if low > margin else "not proven")
    assert (rail["state"], result["decision"], exit_code) == (state, decision, code)
    for text in texts:
        assert state in text
    named = f"amount is not proven: it may be as bad as {100 * high:+.1f} %"
    assert (
        (named in result["first_line"])
        == (f"warning: guardrail {named}" in err)
        == (state == "not proven")
    )
    chip = {"within": "chip lift", "worse": "chip harm", "not proven": "chip warn"}[state]
    assert f'<span class="{chip}">{state}</span>' in texts[1]


def test_a_guardrail_without_an_interval_is_not_proven(analysed):
    result, _, _, _ = analysed(effect=0.4, users=60, margin=0.1)
    (rail,) = [metric for metric in result["metrics"] if metric["role"] == "guardrail"]
    assert (rail["state"], rail["lift"]["low"]) == ("not proven", None)
    assert "fewer than 50 units" in rail["note"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "the planned time is over"),
        ({"stopped": START + timedelta(days=5)}, "the experiment was stopped"),
        ({"exposed": False}, "the planned time is over: no unit was exposed"),
    ],
    ids=["ended", "stopped", "no unit came"],
)
def test_an_end_that_shows_nothing_is_inconclusive(analysed, more, reason):
    result, texts, err, code = analysed(effect=0.05, users=400, seed=4, **more)
    assert (result["decision"], result["reason"], code) == ("inconclusive", reason, 0)
    assert result["first_line"].startswith(f"Inconclusive: {reason}")
    for words in ("Keep daily until then", "version=2", "headwater experiment plan fresh"):
        assert words in result["advice"]
    for text in texts:
        assert result["advice"] in text.replace("\\", "").replace("&#39;", "'")
    assert err.splitlines()[-1].startswith(
        "next: headwater experiment plan fresh --project features.py"
    )


@pytest.mark.slow
def test_batch_stays_only_where_no_gain_worth_having_is_left(analysed):
    result, _, _, _ = analysed(effect=0.0, users=30_000, margin=0.5)
    (lift,) = [metric["lift"] for metric in result["metrics"] if metric["role"] == "deciding"]
    assert lift["high"] < 0.05
    assert (result["decision"], result["advice"]) == ("stay batch", "")
