"""Whatever is asked about one model and one state of its evidence names the same action: each verb
and each form.
"""

import html
import json
import re

import pytest

from tests.cli.conftest import PROJECT


def seen(text):
    """What a reader sees, on one line."""
    return " ".join(
        html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL)).split()
    )


@pytest.mark.parametrize(
    ("evaluation", "chosen"),
    [
        ("hw.Evaluation(baseline='daily', min_lift=0.01)", "run instant"),
        pytest.param(
            "hw.Evaluation(baseline='daily', min_lift=0.4)", "stay daily", marks=pytest.mark.slow
        ),
    ],
)
def test_every_output_names_the_same_action(folder, run, monkeypatch, evaluation, chosen):
    monkeypatch.setenv("HEADWATER_RUNS", "on")
    project = PROJECT.rstrip().removesuffix(")") + f", evaluation={evaluation})\n"
    (folder / "features.py").write_text(project, encoding="utf-8")
    printed = run("backtest", "--refits", "0", "--yes").stdout
    kept = json.loads(run("backtest", "--refits", "0", "--yes", "--json").stdout)
    (folder / "b.json").write_text(json.dumps(kept), encoding="utf-8")
    assessed = run("assess", "--backtest", "b.json", "--no-attribution", "--markdown", "a.md")
    listed = run("runs").stdout
    shown = run("runs", "show", "latest", "--output", "run.html")
    assert assessed.returncode == shown.returncode == 0, assessed.stderr + shown.stderr
    action = kept["recommendation"]["sentence"].partition(". ")[0].rstrip(".")
    outputs = {
        "backtest": printed,
        "json": kept["verdict"],
        "report": (folder / "report.html").read_text(encoding="utf-8"),
        "assess": assessed.stdout,
        "assessment": (folder / "assess.html").read_text(encoding="utf-8"),
        "markdown": (folder / "a.md").read_text(encoding="utf-8"),
        "runs": listed,
        "run": (folder / "run.html").read_text(encoding="utf-8"),
    }
    for name, text in outputs.items():
        assert action in seen(text), name
    pages = {n: outputs[n] for n in ("report", "assessment", "run")}
    for name, text in pages.items():
        (found,) = re.findall(r'<li class="is"[^>]*>([^<]*)</li>', text)
        assert found == chosen, name
