"""From scratch: where a team without a model begins, by its answers."""

import html
import json
import re

import pytest

import headwater as hw

FRAUD = {
    "deadline": "200ms",
    "known_before": "0s",
    "listable": False,
    "outcome_after": "30d",
    "events": ["logins", "payments"],
    "key": "card_id",
}
FLAGS = [
    "--deadline",
    "200ms",
    "--known-before",
    "0s",
    "--listable",
    "no",
    "--outcome-after",
    "30d",
    "--event-names",
    "logins,payments",
]


@pytest.mark.parametrize(
    ("changed", "start", "precomputable", "line"),
    [
        (
            {},
            "on request",
            False,
            (
                "Predict on request, within 200ms, from the request alone; log logins and payments "
                "from today on,"
            ),
        ),
        (
            {"known_before": "1d", "listable": True},
            "precompute",
            True,
            "Precompute predictions with a nightly job; log logins and payments",
        ),
        ({"known_before": "1d"}, "on request", False, "Predict on request"),
        # known a second before only
        ({"listable": True}, "on request", False, "Predict on request"),
        (
            {"deadline": "8h"},
            "batch",
            False,
            "Score requests with an hourly job; log logins and payments",
        ),
    ],
)
def test_whether_it_can_be_precomputed_decides_where_to_begin(changed, start, precomputable, line):
    found = hw.operations.assess_scratch(**FRAUD | changed)
    assert (found.start, found.precomputable) == (start, precomputable)
    assert found.first_line.startswith(line)
    assert found.reason


def test_what_a_decision_is_worth():
    """200 acted on a day. All right: 200 x 100 = 20,000. One of 100 more: 2 decisions, each 100 +
    25 better. Break-even: 25 / 125.
    """
    found = hw.operations.assess_scratch(**FRAUD, value=hw.DecisionValue(10_000, 0.02, 100, 25))
    told = " ".join(found.worth)
    assert (
        "200 decisions are acted on a day. Were all of them right, they would bring 20,000 a day"
        in told
    )
    assert "brings 250 a day" in told
    assert "from 20 right of 100 on" in told
    assert "Not known" in hw.operations.assess_scratch(**FRAUD).worth[0]


def test_every_rendering_begins_with_the_first_line(tmp_path):
    found = hw.operations.assess_scratch(**FRAUD | {"events": ["<b>logins"]})
    page = found.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.unescape(re.search(r"<h1>(.*?)</h1>", page)[1]) == found.first_line
    assert re.search(r"assessed \d{4}-\d\d-\d\d \d\d:\d\d UTC<", page)
    # columns wrap on a phone: the rule of the page, which keeps the second column in one line, is
    # more specific than one of `td` alone
    assert "td, td:nth-child(2) { white-space: normal" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert html.unescape(found.to_markdown().splitlines()[0].removeprefix("# ")) == found.first_line
    assert found.to_dict()["first_line"] == found.first_line


@pytest.mark.slow
def test_the_command_asks_nothing_where_all_is_given(tmp_path, run):
    found = run(
        "assess",
        "--scratch",
        *FLAGS,
        "--value",
        "volume=100,acted_on=0.1,hit=5",
        "--network",
        "none",
        "--json",
        "--markdown",
        "a.md",
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["start"] == "on request"
    assert told["network"]["experiment"].startswith("user-level A/B")
    shown = run("assess", "--scratch", *FLAGS)
    assert shown.stdout.startswith("Predict on request, within 200ms")
