"""A changed LightGBM file is an error: it never ends, hangs or fills up the process that loads
it.
"""

import json
import subprocess
import sys
from random import Random

import lightgbm
import numpy as np
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.models import artifact
from headwater.models.formats.lightgbm_text import checked
from tests.models.worlds import model

ONE = {
    "verbose": -1,
    "num_threads": 1,
    "num_leaves": 7,
    "min_data_in_leaf": 5,
    "min_data_per_group": 5,
}


def rows():
    drawn = np.random.default_rng(0)
    X = drawn.normal(size=(300, 3))
    X[:, 2] = drawn.integers(0, 40, 300)
    X[::7, 0] = np.nan
    return X


def booster(rounds=4, y=None, categorical="auto", **rules):
    X = rows()
    y = (X[:, 1] + 3 * (X[:, 2] % 2) > 1).astype(int) if y is None else y
    return lightgbm.train(
        {**ONE, **rules}, lightgbm.Dataset(X, y, categorical_feature=categorical), rounds
    )


KINDS = {
    "binary": lambda: booster(objective="binary", categorical=[2]),
    "multiclass": lambda: booster(objective="multiclass", num_class=3, y=np.arange(300) % 3),
    "linear": lambda: booster(linear_tree=True, y=np.nan_to_num(rows()) @ np.ones(3)),
    "random forest": lambda: booster(
        boosting="rf", bagging_freq=1, bagging_fraction=0.5, objective="binary"
    ),
    "one leaf": lambda: booster(y=np.ones(300)),
    "monotone": lambda: booster(monotone_constraints=[1, 0, -1]),
    "own objective": lambda: booster(
        objective=lambda found, data: (found - data.get_label(), np.ones_like(found))
    ),
    "quantile": lambda: booster(objective="quantile", alpha=0.9),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_model_keeps_its_bits_and_its_text(kind, tmp_path):
    made = KINDS[kind]()
    made.save_model(tmp_path / "model.txt")
    found = hw.operations.load_model(tmp_path / "model.txt")
    assert found.predict(rows()).tobytes() == np.asarray(made.predict(rows()), np.float64).tobytes()
    assert (
        found.booster.model_to_string()
        == lightgbm.Booster(model_file=tmp_path / "model.txt").model_to_string()
    )
    (tmp_path / "windows.txt").write_bytes(
        (tmp_path / "model.txt").read_bytes().replace(b"\n", b"\r\n")
    )
    assert (
        hw.operations.load_model(tmp_path / "windows.txt").predict(rows()).tobytes()
        == found.predict(rows()).tobytes()
    )


def every(text, key, value):
    """The text with each value of a key replaced."""
    lines = text.split("\n")
    return "\n".join(
        f"{key}={' '.join([value] * len(line.split('=')[1].split()))}"
        if line.startswith(f"{key}=")
        else line
        for line in lines
    )


ATTACKS = {
    "a child out of range": (lambda text: every(text, "left_child", "1000000"), ("left_child holds "
        "1000000")),
    "a child that is a leaf out of range": (lambda text: every(text, "right_child", "-1000000"), "right_child holds -1000000"),
    "children in a circle": (lambda text: every(text, "left_child", "0"), ("is the child of two "
        "nodes")),
    "a feature out of range": (lambda text: every(text, "split_feature", "99999999"), ((("split_feature holds 99999999; it is from 0 to "  # noqa: UP034
        "2")))),
    "more leaves": (lambda text: text.replace("num_leaves=", "num_leaves=9", 1), ((("left_child has 6 values, not "  # noqa: UP034
        "96")))),
    "no leaves": (lambda text: every(text, "num_leaves", "-5"), "num_leaves is -5"),
    "a billion leaves": (lambda text: every(text, "num_leaves", "1000000000"), ("num_leaves is "
        "1000000000")),
    "features to come": (lambda text: every(text, "max_feature_idx", "2000000000"), ((("feature_names does not "  # noqa: UP034
        "have")))),
    "a billion classes": (lambda text: text.replace("num_class=1", "num_class=1000000000", 1), ((("num_tree_per_iteration is 1 and num_class "  # noqa: UP034
        "1000000000")))),
    "cut": (lambda text: text[: len(text) // 2], "it has no line 'end of trees'"),
    "NUL": (lambda text: text[:900] + "\0" * 100 + text[900:], "is not"),
    "leaves that are no numbers": (lambda text: every(text, "leaf_value", "nan"), ((("leaf_value holds a value that is not a finite number: "  # noqa: UP034
        "'nan'")))),
    "categories out of range": (lambda text: every(text, "cat_boundaries", "7"), ((("cat_boundaries does not rise from "  # noqa: UP034
        "0")))),
    "a set of categories that there is not": (lambda text: every(every(text, "decision_type", "1"), "threshold", "77"), "sets of categories"),
    "a line twice": (lambda text: text.replace("num_cat=1\n", "num_cat=1\nnum_cat=1\n", 1), "'num_cat' is repeated"),
    "digits of another script": (lambda text: every(text, "num_leaves", "٧"), ((("num_leaves holds a value that is not an "  # noqa: UP034
        "integer")))),
    "not text": (lambda text: b"\xff\xfe" + text.encode(), "byte 0 is not UTF-8"),
    "categories of pandas": (lambda text: text.replace("pandas_categorical:null", "pandas_categorical:" + "[" * 100_000), ((("pandas_categorical is not "  # noqa: UP034
        "JSON")))),
}  # fmt: skip


@pytest.mark.parametrize("sizes", [True, False], ids=["", "without tree_sizes"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_file_is_refused_and_says_where(attack, sizes, tmp_path):
    change, said = ATTACKS[attack]
    text = KINDS["binary"]().model_to_string()
    found = change(
        text
        if sizes
        else "\n".join(line for line in text.split("\n") if not line.startswith("tree_sizes"))
    )
    (tmp_path / "model.txt").write_bytes(found if isinstance(found, bytes) else found.encode())
    with pytest.raises(
        DataError, match=r"not a readable LightGBM model: .*Booster\.save_model"
    ) as refused:
        hw.operations.load_model(tmp_path / "model.txt")
    assert said in str(refused.value)


def test_more_numbers_a_row_than_the_objective_gives_are_refused():
    text = KINDS["multiclass"]().model_to_string()
    for change in (
        ("num_class:3", "num_class:1000"),
        ("objective=multiclass num_class:3", "objective=binary sigmoid:1"),
    ):
        with pytest.raises(DataError, match="its objective is"):
            checked(text.replace(*change).encode(), "model.txt")


CHILD = """
import json, sys, warnings
import numpy as np
from pathlib import Path
from headwater.errors import DataError
from headwater.models.formats import load_model
from headwater.training.resources import Resources
warnings.simplefilter("ignore")
loaded = 0
for number, data in enumerate(json.load(open(sys.argv[1]))):
    Path(sys.argv[2]).write_bytes(bytes.fromhex(data))
    print(number, flush=True)
    try:
        model = load_model(sys.argv[2])
        model.row(__import__("array").array("d", [1.0] * model.n_features_in_))
        loaded += 1
    except DataError:
        pass
print("loaded", loaded)
"""
HOSTILE = [
    b"",
    b"0",
    b"-1",
    b"1",
    b"99999999999",
    b"-2147483648",
    b"nan",
    b"1e999",
    b"=",
    b"\n",
    b"\0",
    b" ",
    b"0x10",
    b"Tree=0",
    b"[a: b]",
]


def spoilt(good, random):
    """The bytes with a flip, a token in the place of another, or a line that is gone, twice, or
    elsewhere.
    """
    data, lines = bytearray(good), good.split(b"\n")
    match random.randrange(4):
        case 0:
            for _ in range(random.randint(1, 4)):
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(data)
        case 1:
            line = random.randrange(len(lines))
            tokens = lines[line].replace(b"=", b"= ").split(b" ")
            tokens[random.randrange(len(tokens))] = random.choice(HOSTILE)
            lines[line] = b" ".join(tokens).replace(b"= ", b"=")
        case 2:
            line = lines.pop(random.randrange(len(lines)))
            lines[random.randrange(len(lines)) :][: random.randint(0, 2)] = [line] * random.randint(
                0, 2
            )
        case _:
            return good[: random.randrange(len(good))]
    return b"\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "linear"])
def test_no_change_of_bytes_or_lines_ends_the_process(kind, tmp_path):
    good, random = KINDS[kind]().model_to_string().encode(), Random(kind)
    (tmp_path / "cases.json").write_text(
        json.dumps([good.hex(), *(spoilt(good, random).hex() for _ in range(120))])
    )
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path / "cases.json"),
        str(tmp_path / "model.txt"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout[-20:], done.stderr[-2000:])
    assert int(done.stdout.split()[-1]) > 5


# ---------------------------------------------------------------- the file that is loaded is the file that is checked


@pytest.fixture(scope="module")
def trained():
    estimator = lightgbm.LGBMClassifier(n_estimators=3, num_leaves=7, n_jobs=1, verbose=-1)
    return hw.train(
        model(estimator=estimator), as_of="2024-04-01T00:00Z", resources=hw.Resources(threads=1)
    )


@pytest.mark.parametrize(
    "named", ["../../../etc/hostname", "other.txt", "model.onnx", "", "./model.txt"]
)
def test_the_digest_is_of_the_file_that_is_loaded(named, trained, tmp_path):
    trained.save(tmp_path / "kept")
    (tmp_path / "kept/other.txt").write_text("something else")
    manifest = json.loads((tmp_path / "kept/manifest.json").read_text())
    manifest["kept"] |= {"file": named}
    (tmp_path / "kept/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"names .*, and lightgbm keeps a model in 'model\.txt'"):
        artifact.open_model(tmp_path / "kept")


def test_a_model_that_was_changed_under_its_digest_is_refused(trained, tmp_path):
    trained.save(tmp_path / "kept")
    path = tmp_path / "kept/model.txt"
    path.write_text(every(path.read_text(), "left_child", "0"))
    with pytest.raises(DataError, match=r"model\.txt has changed"):
        artifact.open_model(tmp_path / "kept")
    manifest = json.loads((tmp_path / "kept/manifest.json").read_text())
    manifest["kept"] |= {"digest": artifact.digest_of(path)}
    (tmp_path / "kept/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="not a readable LightGBM model"):
        artifact.open_model(tmp_path / "kept")
