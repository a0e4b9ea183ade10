"""What a manifest says, and that a model which is not what it says is refused."""

import json
import pickle

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, ndcg_score, roc_auc_score

import headwater as hw
from headwater.errors import DataError, MissingExtraError, UsageError
from headwater.models import formats
from headwater.models import manifest as manifests
from headwater.models.artifact import manifest_in, open_model
from headwater.models.outcomes import outcomes
from tests.backtesting.world import LEVELS, by_machine, day, world
from tests.backtesting.world import model as machine_model
from tests.models.worlds import FIELDS, RANKING, START, imputed, model, table

UNTIL = "2024-04-01T00:00Z"
HALF = START.replace(hour=10)


@pytest.fixture(scope="module")
def machines():
    return world(days=12, per_day=60)


@pytest.fixture
def kept(tmp_path):
    trained = hw.train(model(), as_of=UNTIL, resources=hw.Resources(threads=1))
    trained.save(tmp_path / "m")
    return tmp_path / "m"


def test_a_manifest_says_what_the_model_was_made_of(machines, tmp_path):
    of = machine_model(
        machines, members=[by_machine(machines.events), hw.RequestField("amount", float)]
    )
    trained = hw.train(of, level=LEVELS["hourly"], level_name="hourly", as_of=day(8))
    path = trained.save(tmp_path)
    said = json.loads(path.read_text())
    assert (said["model"], said["fingerprint"], said["task"]) == (
        "breaks",
        of.fingerprint,
        "binary",
    )
    assert said["features"] == ["machine__last_state", "machine__mean_state_6h", "amount"]
    assert said["dtypes"] == ["Float64", "Float64", "Float64"]
    assert said["feature_service"] == {"svc": of.features.fingerprint}
    assert said["labels"] == {"outcomes": of.labels.fingerprint}
    (view,) = said["views"].values()
    assert view["says"] == "every 1h, published 5m later"
    hour = 3_600_000_000
    assert view["freshness"] == {
        "kind": "batch",
        "every": hour,
        "at": 0,
        "timezone": "UTC",
        "delay": hour // 12,
        "wait": 0,
    }
    assert said["level"]["name"] == "hourly"
    assert said["level"]["fingerprint"] == LEVELS["hourly"].fingerprint
    assert said["level"]["predictions"] is None
    assert (said["until"], said["rows"]) == (day(8).isoformat(), trained.rows)
    assert set(said["request"]) == {"amount"}
    assert 1 <= len(said["examples"]) <= 3
    assert {"headwater", "polars", "scikit-learn"} <= set(said["versions"])
    assert manifest_in(tmp_path).metrics["training"]["auc"] > 0.5


def test_the_digest_is_that_of_the_dataset(machines, tmp_path):
    of = machine_model(machines)
    made = hw.dataset(
        of,
        tmp_path / "rows.parquet",
        level=LEVELS["hourly"],
        as_of=day(8),
        resources=hw.Resources(cache=False),
    )
    data = hw.train(of, level=LEVELS["hourly"], as_of=day(8)).data
    assert data["digest"] == made.manifest["digest"]
    assert data["columns"] == made.manifest["columns"]
    assert data["events"] == made.manifest["events"]


def test_the_level_that_no_one_named_is_said_in_words(machines):
    assert hw.train(machine_model(machines), as_of=day(8)).level_name == "as defined"
    assert (
        hw.train(machine_model(machines), level=LEVELS["hourly"], as_of=day(8)).level_name
        == "every 1h, published 5m later"
    )


# ---- metrics


def test_metrics_are_those_of_the_field():
    rows = table()
    x = rows.select("x", "noise", "shade")
    trained = hw.train(model(), as_of=UNTIL, resources=hw.Resources(threads=1))
    score, y = trained.fitted.score(x), rows["clicked"].to_numpy()
    assert trained.metrics == {
        "training": pytest.approx(
            {
                "auc": roc_auc_score(y, score),
                "average_precision": average_precision_score(y, score),
                "log_loss": log_loss(y, score),
            }
        )
    }
    trained = hw.train(model("regression"), as_of=UNTIL, resources=hw.Resources(threads=1))
    apart = trained.fitted.score(x) - rows["cost"].to_numpy()
    assert trained.metrics["training"] == pytest.approx(
        {"mae": np.abs(apart).mean(), "rmse": np.sqrt((apart**2).mean())}
    )
    trained = hw.train(model("multiclass"), as_of=UNTIL, resources=hw.Resources(threads=1))
    score = trained.fitted.score(x)
    known = outcomes(model("multiclass"), rows["kind"], rows)
    right = (score.argmax(axis=1) == known.y).mean()
    assert trained.metrics["training"] == pytest.approx(
        {"accuracy": right, "log_loss": log_loss(known.y, score)}
    )


def test_ndcg_is_scikit_learns():
    # one list of 40 across others: each item is its own
    items = pl.format("i{}", pl.int_range(pl.len()))
    rows = table(per_list=15).with_columns(
        request=pl.when(pl.int_range(pl.len()) < 40).then(pl.lit("long")).otherwise("request"),
        item=items,
    )
    of = model(RANKING, rows=rows, estimator=imputed(LinearRegression()), fields=FIELDS[:2])
    trained = hw.train(of, as_of=UNTIL)
    scored = rows.with_columns(score=pl.Series(trained.fitted.score(rows)))
    each = [
        ndcg_score([part["grade"].to_list()], [part["score"].to_list()], k=10)
        for part in scored.partition_by("request")
        if part["grade"].max() > 0
    ]
    assert trained.metrics["training"] == pytest.approx({"ndcg@10": np.mean(each)})


def test_held_out_rows_are_judged_by_a_model_of_earlier_ones():
    rows = table()
    trained = hw.train(model(), as_of=UNTIL, holdout=HALF, resources=hw.Resources(threads=1))
    early = rows.filter(pl.col("asked") + pl.duration(hours=1) <= HALF)  # known by then
    late = rows.filter(pl.col("asked") >= HALF)
    earlier = hw.train(model(rows=early), as_of=UNTIL, resources=hw.Resources(threads=1))
    y = late["clicked"].to_numpy()
    assert trained.metrics["holdout"]["auc"] == pytest.approx(
        roc_auc_score(y, earlier.fitted.score(late))
    )
    assert trained.rows == rows.height  # the profile is of all
    with pytest.raises(
        DataError,
        match="leaves 0 rows to train on and 1200 to measure on; the request times are from",
    ):
        hw.train(model(), as_of=UNTIL, holdout=START)
    with pytest.raises(DataError, match="leaves 1200 rows to train on and 0 to measure on"):
        hw.train(model(), as_of=UNTIL, holdout="2024-03-20T00:00Z")
    with pytest.raises(UsageError, match="holdout is 2024-03-20T00:00:00, which has no time zone"):
        hw.train(model(), as_of=UNTIL, holdout="2024-03-20")


# ---- a model that is not what its manifest says


def _change(folder, **fields):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_model_that_scores_otherwise_is_refused(kept):
    manifest = json.loads((kept / "manifest.json").read_text())
    for example in manifest["examples"]:
        example["prediction"] += 1e-9
    _change(
        kept, examples=manifest["examples"], versions=manifest["versions"] | {"lightgbm": "3.0"}
    )
    with pytest.raises(
        DataError,
        match=r"no longer scores as it did when it was kept: .* these libraries are not the same: lightgbm 3.0 then",
    ):
        open_model(kept, model())


def test_a_row_that_scores_otherwise_than_the_frame_is_refused(kept, monkeypatch):
    from headwater.models.serving_model import ServedModel

    one = ServedModel.one
    monkeypatch.setattr(ServedModel, "one", lambda self, values: one(self, values) + 1e-6)
    with pytest.raises(
        DataError, match=r"no longer scores as it did .* \(one row\); no library has changed"
    ):
        open_model(kept, model())


def test_a_file_that_was_changed_is_refused_before_it_is_read(tmp_path):
    hw.train(model(estimator=imputed(), fields=FIELDS[:2]), as_of=UNTIL).save(tmp_path)

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(
        DataError, match=r"is not what was kept: model.pkl has changed; train it again"
    ):
        open_model(tmp_path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "model.pkl").unlink()
    with pytest.raises(DataError, match=r"model.pkl is gone"):
        open_model(tmp_path, allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a model manifest"),
        ("{}", "missing required field"),
        ('{"format": 1}', "missing required field"),
    ],
)
def test_a_manifest_that_cannot_be_read(kept, text, says):
    (kept / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=says):
        open_model(kept)


def test_a_manifest_of_another_version(kept):
    _change(kept, format=99)
    with pytest.raises(
        DataError, match=r"it is of format 99, and this version reads 2. Train the model again"
    ):
        open_model(kept)


def test_a_format_that_is_not_known_here(kept):
    manifest = json.loads((kept / "manifest.json").read_text())
    _change(kept, kept=manifest["kept"] | {"format": "onx"})
    with pytest.raises(
        DataError,
        match="kept as 'onx', which this version of headwater does not know; did you mean 'onnx'",
    ):
        open_model(kept)


def test_features_in_another_order_are_refused(kept):
    with pytest.raises(
        DataError, match="the order of features differs: number 1 was 'x', and is 'shade'"
    ):
        open_model(kept, model(fields=FIELDS[::-1]))


def test_scores_that_are_no_numbers_are_not_kept(tmp_path):
    taught = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    taught.coef_ = np.array([np.nan])
    of = model("regression", estimator=taught, fields=[hw.RequestField("noise", float)])
    with pytest.raises(DataError, match="returns scores that are not finite numbers, such as nan"):
        hw.train(of, as_of=UNTIL).save(tmp_path)


# ---- models that were trained elsewhere


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib"])
def test_a_file_of_python_needs_trust(tmp_path, name):
    rows = table()
    taught = LogisticRegression().fit(rows.select("noise").to_numpy(), rows["clicked"].to_numpy())
    if name.endswith("joblib"):
        joblib.dump(taught, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(taught))
    with pytest.raises(
        UsageError, match=r"runs code; pass allow_pickle=True if you trust where it comes from"
    ):
        hw.operations.load_model(tmp_path / name)
    of = model(
        estimator=hw.operations.load_model(tmp_path / name, allow_pickle=True),
        fields=[hw.RequestField("noise", float)],
    )
    trained = hw.train(of, as_of=UNTIL)
    assert trained.fitted.replayed
    assert (
        trained.fitted.score(rows).tolist()
        == taught.predict_proba(rows.select("noise").to_numpy())[:, 1].tolist()
    )


def test_a_file_of_lightgbm(tmp_path):
    trained = hw.train(model(fields=FIELDS[:2]), as_of=UNTIL, resources=hw.Resources(threads=1))
    trained.fitted.estimator.booster_.save_model(tmp_path / "m.txt")
    of = model(estimator=hw.operations.load_model(tmp_path / "m.txt"), fields=FIELDS[:2])
    assert (
        hw.train(of, as_of=UNTIL).fitted.score(table()).tolist()
        == trained.fitted.score(table()).tolist()
    )
    with pytest.raises(DataError, match="it takes 2 columns, and the features are 1: noise"):
        hw.train(model(estimator=of.estimator, fields=FIELDS[1:2]), as_of=UNTIL)
    with pytest.raises(
        DataError, match="the category numbers of 'shade' in its training are not known"
    ):
        hw.train(model(estimator=of.estimator), as_of=UNTIL)


@pytest.mark.parametrize("ending", ["txt", "onnx", "pkl", "joblib"])
def test_a_file_that_holds_no_model(tmp_path, ending):
    place = tmp_path / f"m.{ending}"
    with pytest.raises(DataError, match="no model at"):
        hw.operations.load_model(place, allow_pickle=True)
    place.write_bytes(b"nothing that could be a model")
    with pytest.raises(
        DataError, match=r"cannot be loaded|is not a model that|is not a readable LightGBM model"
    ):
        hw.operations.load_model(place, allow_pickle=True)


def test_a_place_that_says_no_format():
    with pytest.raises(UsageError, match=r"load_model\('m.h5'\): unknown format; known: .txt"):
        hw.operations.load_model("m.h5")
    with pytest.raises(
        UsageError, match="is kept by mlflow, and loading it runs code; pass allow_pickle=True"
    ):
        hw.operations.load_model("models:/churn/3")


@pytest.mark.parametrize(
    ("place", "module", "extra"),
    [("m.onnx", "onnxruntime", "onnx"), ("models:/m/1", "mlflow", "mlflow")],
)
def test_a_library_that_is_not_installed_names_its_extra(
    tmp_path, monkeypatch, place, module, extra
):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setitem(__import__("sys").modules, f"{module}.artifacts", None)
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=rf"headwater\[{extra}\]"):
        hw.operations.load_model(
            tmp_path / place if place.endswith("onnx") else place, allow_pickle=True
        )


def test_every_format_is_in_the_table_once():
    names = [form.name for form in formats.FORMATS.values()]
    assert names == list(formats.FORMATS)
    assert names[-1] == "pickle"
    assert {form.name for form in formats.FORMATS.values() if form.runs_code} == {
        "pickle",
        "joblib",
        "mlflow",
    }
    assert len({form.file for form in formats.FORMATS.values()}) == len(names)


def test_a_local_class_cannot_be_kept(tmp_path):
    class Local(LinearRegression):
        pass

    of = model("regression", estimator=Local(), fields=FIELDS[1:2])
    with pytest.raises(
        DataError,
        match=r"Local cannot be kept: .* Define it at the top of a module that serving can import",
    ):
        hw.train(of, as_of=UNTIL).save(tmp_path)


def test_versions_are_read_once_in_a_process_and_nobody_changes_them(monkeypatch):
    said = manifests.library_versions()
    monkeypatch.setattr(manifests, "version", lambda name: "read again")
    assert manifests.library_versions() == said
    manifests.library_versions()["polars"] = "0"
    assert manifests.library_versions() == said
