import importlib.util
import sys

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError

ROWS = {
    "request": ["r"],
    "user": ["u"],
    "item": ["i"],
    "previous": ["p"],
    "session": ["s"],
    "at": [0],
    "clicked": [True],
}
CLICKS = hw.Source("clicks", history=pl.DataFrame(ROWS), timestamp_field="at")


TOP = (hw.top_k("item", k=3),)


def view(name="popular", keys=(), features=TOP):
    return hw.FeatureView(
        name,
        source=CLICKS,
        keys=keys,
        features=features,
        windows=["1d"],
        freshness=hw.streaming("1s"),
    )


POPULAR = view()


def model(task=None, **labels):
    given = {
        "table": pl.DataFrame(ROWS),
        "timestamp_field": "at",
        "label": "clicked",
        "known_after": "1h",
    } | labels
    service = hw.FeatureService("svc", [view("user", ["user"], [hw.count()])])
    return hw.Model(
        "feed",
        task=task or hw.Ranking("request", "item", [POPULAR["top_k_item_1d"]]),
        features=service,
        labels=hw.Labels("shown", **given),
    )


def test_the_sessions_of_the_design_are_definable(shared):
    spec = importlib.util.spec_from_file_location("sessions", shared / "api" / "sessions.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sessions"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["sessions"]
    assert module.feed.task_kind == "ranking"
    assert {v.name for v in module.project.all_views} == {
        "popular",
        "item",
        "user",
        "session",
        "next_items",
        "covisited",
    } - {"next_items"}
    assert [service.name for service in module.feed.services] == ["candidates", "feed_v1"]


def test_what_candidates_are_found_in_belongs_to_the_project():
    project = hw.Project("p", [model()])
    assert [v.name for v in project.all_views] == ["popular", "user"]
    alone = hw.Project("p", [model(hw.Ranking("request", "item"))])
    assert [v.name for v in alone.all_views] == ["user"]


@pytest.mark.parametrize(
    "made",
    [
        hw.last_n("item", k=3),
        hw.first_n("item", k=3),
        hw.top_k("item", k=3),
        hw.collect_set("item", max_size=3),
    ],
)
def test_any_list_proposes_candidates(made):
    of = view(features=[made])
    assert (
        hw.Ranking("request", "item", [of[of.outputs[0].name]]).retrieval.feature_names
        == of.feature_names
    )


def test_a_candidate_is_found_through_another_feature():
    session = view("session", ["session"], [hw.last("item")])
    follows = view("follows", ["previous"]).alias(
        "next", keys={"previous": session["last_item_1d"]}
    )
    ranking = hw.Ranking("request", "item", [follows["top_k_item_1d"]])
    assert [v.name for v in ranking.retrieval.views] == ["session", "next"]


def test_rankings_are_equal_by_what_they_say():
    assert hw.Ranking("request", "item", [POPULAR["top_k_item_1d"]]) == hw.Ranking(
        "request", "item", (view()["top_k_item_1d"],)
    )
    assert model().fingerprint != model(hw.Ranking("request", "item")).fingerprint


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: hw.Ranking("", "item"), "group is ''"),
        (lambda: hw.Ranking("request", None), "item is None"),
        (lambda: hw.Ranking("item", "item"), "both group and item"),
        (
            lambda: hw.Ranking("request", "item", POPULAR["top_k_item_1d"]),
            "give a list of features",
        ),
        (lambda: hw.Ranking("request", "item", [POPULAR]), "candidates holds FeatureView"),
        (
            lambda: hw.Ranking(
                "request", "item", [view(features=[hw.last("item")])["last_item_1d"]]
            ),
            "which gives no list",
        ),
        (
            lambda: hw.Ranking(
                "request", "item", [view(features=[hw.count().by("user")])["count_by_user_1d"]]
            ),
            "which gives no list",
        ),
        (
            lambda: hw.Ranking("request", "item", [view("i", ["item"])["top_k_item_1d"]]),
            "the item that it should propose",
        ),
        (
            lambda: hw.Ranking(
                "request",
                "item",
                [view("f", ["previous"]).alias("n", keys={"previous": "item"})["top_k_item_1d"]],
            ),
            "the item that it should propose",
        ),
        (
            lambda: hw.Ranking("request", "item", [POPULAR["top_k_item_1d"]] * 2),
            "is repeated among",
        ),
        (
            lambda: model(select=["user", "item", "clicked"]),
            "the group 'request' of the ranking is not selected",
        ),
        (lambda: model(select=["request", "itm", "clicked"]), "did you mean 'itm'"),
        (lambda: model("ranking"), "hw.Ranking"),
        (lambda: model("multiclas"), "did you mean 'multiclass'"),
        (lambda: model(hw.Ranking), "give 'binary', 'multiclass' or 'regression', or hw.Ranking"),
    ],
)
def test_what_a_ranking_refuses(given, says):
    with pytest.raises(DefinitionError, match=says.replace("(", r"\(")):
        given()


def test_labels_by_an_outcome_carry_its_keys():
    made = hw.outcome(CLICKS, hw.count(), keys=["request", "item"], within="30m")
    assert model(select=["user"], label=made, known_after=None).task_kind == "ranking"
