"""The answers over HTTP where views lack records that were lost: by what each view says, as the
description of the service has it.
"""

import pytest

import headwater as hw
from headwater.errors import RetentionError
from headwater.ingestion.sources.stream_reader import integer_position
from tests.flow import Flow, frame, micros, streaming_view
from tests.serving.described import checks, description
from tests.serving.world import Sum, asking

SAYS = ("null", "value", "refuse")
LOST = 5
# no window of an hour, which moves by the minute, reaches what was lost any more
AGAIN = LOST + 3_600 + 60


def model_of(says, default=None):
    view = streaming_view(
        features=[hw.count()], freshness=hw.streaming("10s"), name=says, on_incomplete=says
    )
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    name = says if default is None else f"{says}_or_default"
    service = hw.FeatureService(f"{says}_v1", [view])
    return hw.Model(name, task="regression", features=service, labels=labels, default=default)


MODELS = [*map(model_of, SAYS), model_of("refuse", 0.5)]
PROJECT = hw.Project("shop", MODELS)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The service at a time while records are lacking, and when they have left the windows; each
    with its description.
    """
    made = hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('incomplete')}/online?size=1GB")
    views = list({model.features.name: model.features.views[0] for model in MODELS}.values())
    flow, times = Flow(views, made, None), [LOST + 1]
    flow.send([{"key": 1, "at": 1, "amount": 1.0}], 2)
    flow.ingestor.skip(
        RetentionError("the topic", "0", wanted=1, first=9, position=integer_position(9), lost=8),
        micros(LOST),
    )
    flow.offset = 9
    flow.send([], LOST + 1)
    models = {model.name: Sum() for model in MODELS}
    with asking(made, PROJECT, models=models, now=lambda: micros(times[-1])) as client:
        described = description(client)

        def ask(path, second=LOST + 1, **more):
            if second > times[-1]:
                flow.send([{"key": 1, "at": second - 1, "amount": 1.0}], second)
                times.append(second)
            case = described[path]["POST"].Case(
                body={"row": {"key": 1}, **more}, media_type="application/json"
            )
            answer = case.call(timeout=60)
            case.validate_response(answer, checks=checks(errors=answer.status_code == 503))
            return answer

        yield ask
    made.close()


@pytest.mark.parametrize(
    ("says", "value", "status"), [("null", None, "fallback"), ("value", 1, "present")]
)
def test_features_say_that_they_are_incomplete(served, says, value, status):
    answer = served(f"/v1/features/{says}_v1").json()
    said = answer["features"][f"{says}__count_1h"]
    assert (said["value"], said["status"], said["stale"], said["incomplete"]) == (
        value,
        status,
        False,
        True,
    )
    compact = served(f"/v1/features/{says}_v1", compact=True)
    assert compact.status_code == 200
    assert [view["incomplete"] for view in compact.json()["views"].values()] == [True]


def test_features_are_refused_where_the_view_says_so(served):
    answer = served("/v1/features/refuse_v1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, ["5"])
    assert "on_incomplete='refuse'" in answer.json()["error"]


@pytest.mark.parametrize(
    ("says", "value", "how"),
    [("null", 0.0, None), ("value", 1.0, None), ("refuse_or_default", 0.5, "default")],
)
def test_predictions_are_made_of_what_each_view_gives(served, says, value, how):
    answer = served(f"/v1/predict/{says}").json()["prediction"]
    assert answer["value"] == value
    assert (answer["how"] == "default") == (how == "default")


def test_a_prediction_without_a_default_is_refused(served):
    answer = served("/v1/predict/refuse")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, ["5"])
    assert "on_incomplete='refuse'" in answer.json()["error"]


@pytest.mark.parametrize("says", SAYS)
def test_when_the_loss_has_left_the_windows_all_answer(served, says):
    said = served(f"/v1/features/{says}_v1", AGAIN).json()["features"][f"{says}__count_1h"]
    assert (said["value"], said["status"], said["incomplete"]) == (1, "present", False)
    assert served(f"/v1/predict/{says}", AGAIN).json()["prediction"]["value"] == 1.0
