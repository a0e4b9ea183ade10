"""A model is served the features that it was trained on, and at least as fresh."""

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.definitions.checks import DAY, SECOND
from headwater.errors import DataError
from headwater.kernel.as_of import as_of
from headwater.models.compatibility import check, staler
from headwater.models.manifest import definitions_of
from headwater.models.serving_model import ServedModel
from tests.models.worlds import START, table

BATCH, HOURLY, LIVE = hw.batch("1d", delay="4h"), hw.batch("1h", delay="15m"), hw.streaming("2s")
EVENTS = table(200).select("item", "noise", "shade", "clicked", at=pl.col("asked"))
ROWS = table(200)


@hw.request_feature
def double(x: float | None) -> float | None:
    return None if x is None else 2 * x


def source(**rules):
    return hw.Source(
        "events",
        **(
            {"history": EVENTS, "timestamp_field": "at", "select": ["item", "noise", "clicked"]}
            | rules
        ),
    )


def views(item=None, shop=None, of=None):
    """A view by item and one for all; rules of each."""
    made = of or source()
    item = {"features": [hw.mean("noise"), hw.count()], "windows": ["1h"], "freshness": BATCH} | (
        item or {}
    )
    shop = {"features": [hw.count()], "windows": ["1d"], "freshness": LIVE} | (shop or {})
    return [
        hw.FeatureView("item", source=made, keys=["item"], **item),
        hw.FeatureView("shop", source=made, keys=[], **shop),
    ]


def defined(members=None, **rules):
    service = hw.FeatureService(
        "svc", members or [*views(), hw.RequestField("noise", float), double]
    )
    labels = hw.Labels(
        "clicks", table=ROWS, timestamp_field="asked", label="clicked", known_after="1h"
    )
    return hw.Model("clicks", task="binary", features=service, labels=labels, **rules)


@pytest.fixture(scope="module")
def fitted():
    return hw.train(defined(), as_of="2024-04-01T00:00Z", resources=hw.Resources(threads=1)).fitted


def trained(fitted, of=None, level=None):
    """A model that was trained on a definition at a level, without training it again."""
    of = of or defined()
    from headwater.models.manifest import EstimatorFile, Manifest

    kept = EstimatorFile(
        format="lightgbm", file="model.txt", digest="", runs_code=False, tolerance=0
    )
    manifest = Manifest(
        **definitions_of(of, level or hw.Level(), "live"),
        task="binary",
        estimator="",
        kept=kept,
        features=list(of.features.feature_names),
        kinds=[],
        categories={},
        dtypes=["Float64"] * len(of.features.feature_names),
    )
    return ServedModel(
        fitted,
        manifest=msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest),
        version="3",
    )


def refused(fitted, served, level=None, *, of=None, at=None, **more):
    with pytest.raises(DataError) as error:
        check(served, level or hw.Level(), trained(fitted, of, at), **more)
    return str(error.value)


def test_what_was_trained_as_defined_is_served_as_defined(fitted):
    assert check(defined(), hw.Level(), trained(fitted)) == []
    # not kept: nothing says what it was trained on
    assert check(defined(), hw.Level(), ServedModel(fitted)) == []


# ---- other features


def _named(name, **rules):
    return defined([*views(), hw.RequestField(name, float), double], **rules)


OTHER = {
    "a feature that is gone": (
        lambda: defined([*views(), double]),
        ["it reads 'noise', which is not served (known: "],
    ),
    "a feature that is new": (
        lambda: defined(
            [*views(), hw.RequestField("noise", float), double, hw.RequestField("grade", int)]
        ),
        ["'grade' is served, and it does not know it"],
    ),
    "one that was renamed": (
        lambda: _named("noises"),
        ["it reads 'noise', which is not served (did you mean 'noises'?)"],
    ),
    "another order": (
        lambda: defined([*views(), double, hw.RequestField("noise", float)]),
        ["the order of features differs: number 4 was 'noise', and is 'double'"],
    ),
    "another window": (
        lambda: defined(
            [*views(item={"windows": ["2h"]}), hw.RequestField("noise", float), double]
        ),
        [
            (
                "it reads 'item__mean_noise_1h', which is not served (did you mean "
                "'item__mean_noise_2h'?)"
            ),
            "'item__count_2h' is served",
        ],
    ),
    "a window under the same name": (
        lambda: defined([*views(item={"hop": "10m"}), hw.RequestField("noise", float), double]),
        ["view 'item' is defined differently"],
    ),
    "a filter": (
        lambda: defined(
            [
                *views(of=source(filter=pl.col("noise") > 0.5)),
                hw.RequestField("noise", float),
                double,
            ]
        ),
        ["view 'item' is defined differently", "view 'shop' is defined differently"],
    ),
    "when events are known": (
        lambda: defined(
            [*views(of=source(known_after="10m")), hw.RequestField("noise", float), double]
        ),
        ["view 'item' is defined differently"],
    ),
    "another key": (
        lambda: defined(
            [
                views()[0].alias("item", keys={"item": "request"}),
                views()[1],
                hw.RequestField("noise", float),
                double,
            ]
        ),
        ["view 'item' is defined differently"],
    ),
    "a ttl": (
        lambda: defined([*views(shop={"ttl": "1h"}), hw.RequestField("noise", float), double]),
        ["view 'shop' is defined differently"],
    ),
    "another type of a field": (
        lambda: defined([*views(), hw.RequestField("noise", int), double]),
        ["the request's 'noise' is made otherwise"],
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_features_are_refused_by_name(fitted, case):
    make, says = OTHER[case]
    message = refused(fitted, make())
    assert message.startswith(
        "the fitted model of 'clicks', version 3, was trained on other features than are served: "
    )
    assert "Train it again (headwater train --model clicks)" in message
    for part in says:
        assert part in message


SAME = {
    "other tables": lambda: defined(
        [*views(of=source(history=EVENTS.head(10))), hw.RequestField("noise", float), double]
    ),
    "a stream": lambda: defined(
        [*views(of=source(stream=hw.push())), hw.RequestField("noise", float), double]
    ),
    "a column that is not read": lambda: defined(
        [
            *views(of=source(select=["item", "noise", "clicked", "shade"])),
            hw.RequestField("noise", float),
            double,
        ]
    ),
    "the served value when one is stale": lambda: defined(
        [*views(shop={"on_stale": "null"}), hw.RequestField("noise", float), double]
    ),
    "another default": lambda: defined(default=0.5),
}


@pytest.mark.parametrize("case", SAME)
def test_what_changes_no_value_is_no_difference(fitted, case):
    assert check(SAME[case](), hw.Level(), trained(fitted)) == []


def test_a_feature_of_the_view_that_the_model_does_not_read_may_change(fitted):
    (item, shop), (other, _) = (
        views(),
        views(item={"features": [hw.mean("noise"), hw.sum("clicked")]}),
    )
    read = [item["mean_noise_1h"], shop]
    assert (
        check(defined([other["mean_noise_1h"], shop]), hw.Level(), trained(fitted, defined(read)))
        == []
    )


# ---- staler features


AGES = [
    # trained, served, how it is staler
    (LIVE, LIVE, ""),
    (LIVE, hw.streaming("3s"), "up to 3s old, against 2s"),
    (LIVE, hw.streaming("1s"), ""),
    (LIVE, hw.on_request(), ""),
    (hw.on_request(), hw.streaming("1ms"), "up to 1ms old, against 0s"),
    (HOURLY, LIVE, ""),
    (LIVE, HOURLY, "up to 75m old, against 2s"),
    (HOURLY, BATCH, "up to 28h old, against 75m"),
    (BATCH, HOURLY, ""),
    (BATCH, hw.batch("1d", delay="5h"), "up to 29h old, against 28h"),
    (BATCH, hw.batch("1d", delay="3h"), ""),
    (
        BATCH,
        hw.batch("1d", at="12:00", delay="4h"),
        "at 2024-01-01T04:00:00+00:00 16h old, against 4h",
    ),
    (BATCH, hw.batch("12h", delay="6h"), "at 2024-01-01T04:00:00+00:00 16h old, against 4h"),
    (BATCH, hw.batch("12h", delay="4h"), ""),
    (BATCH, hw.batch("6h", delay="4h"), ""),
    # late events do not count
    (
        hw.batch("1d", delay="4h", wait="1h"),
        BATCH,
        "at 2024-01-01T04:00:00+00:00 4h old, against 3h",
    ),
    (BATCH, hw.batch("1d", delay="4h", wait="1h"), ""),
    (
        hw.batch("1d", timezone="America/New_York"),
        hw.batch("1d", at="05:00"),
        "old, against 0s",
    ),  # an hour too early in winter, late in summer
    (
        hw.batch("1d", at="02:30", timezone="Europe/Berlin"),
        hw.batch("1d", at="02:30", timezone="Europe/Berlin"),
        "",
    ),
    (hw.batch("7d", delay="1h"), hw.batch("1d", delay="1h"), ""),
    (hw.batch("1m", delay="10s"), hw.batch("10s", delay="10s"), ""),
    (hw.measured(["1s", "9s"]), hw.streaming("9s"), ""),
    (hw.measured(["1s", "9s"]), hw.streaming("10s"), "up to 10s old, against 9s"),
    (hw.never(), LIVE, ""),
    (hw.never(), hw.never(), ""),
    (LIVE, hw.never(), "no event counts any more"),
]


@pytest.mark.parametrize(("was", "now", "says"), AGES)
def test_how_a_freshness_is_staler_than_another(was, now, says):
    found = staler(was, now)
    assert found.endswith(says) if says else found == ""
    assert bool(found) == bool(says)


def _cuts():
    every = [5, 15, 60, 360, 720, 1440, 2880]
    for seed in range(60):
        draw = np.random.default_rng(seed)
        step = int(draw.choice(every))
        at, delay = int(draw.integers(0, min(step, 1440))), int(draw.integers(0, 2 * step))
        zone = "UTC" if step > 1440 else str(draw.choice(["UTC", "America/New_York"]))
        yield hw.batch(
            f"{step}m",
            at=f"{at // 60:02}:{at % 60:02}",
            delay=f"{delay}m",
            wait=f"{int(draw.integers(0, delay + 1))}m",
            timezone=zone,
        )


def test_batch_rules_are_compared_at_every_moment():
    rules = list(_cuts())
    start = 19_723 * DAY
    t = start + np.arange(0, 400 * DAY, 420 * SECOND)
    wrong = []
    for was, now in zip(rules, rules[7:], strict=False):
        if now.worst_age > was.worst_age:
            continue
        (T, K), (T_now, K_now) = as_of(was, t), as_of(now, t)
        if bool(staler(was, now)) != bool(((T_now < T) | (K_now < K)).any()):
            wrong.append((was, now))
    assert wrong == []


def test_every_view_that_would_be_staler_is_named_with_what_to_do(fitted):
    message = refused(fitted, defined(), hw.Level(hw.batch("1d", delay="6h")))
    assert (
        "would be served staler features than it was trained on: view 'item' was trained every 1d "
        "at 00:00 UTC, published 4h later"
    ) in message
    assert (
        "and is served every 1d at 00:00 UTC, published 6h later (up to 30h old, against 28h)"
        in message
    )
    assert "view 'shop' was trained streaming, 2s behind" in message
    assert (
        "Train it at the level that is served (headwater train --model clicks --level NAME)"
        in message
    )


def test_a_model_of_a_level_is_compared_with_that(fitted):
    daily, live = hw.Level(BATCH), hw.Level(LIVE)
    assert check(defined(), daily, trained(fitted, level=daily)) == []
    assert "view 'item'" in refused(fitted, defined(), daily, at=live)
    (item, _) = views()
    assert "view 'item'" in refused(fitted, defined(), hw.Level({item: BATCH}), at=live)


def test_fresher_features_are_a_warning(fitted):
    (said,) = check(defined(), hw.Level(LIVE), trained(fitted))
    assert said == (
        "view 'item' was trained every 1d at 00:00 UTC, published 4h later, and is served "
        "streaming, 2s behind: fresher than the model has learned from"
    )
    assert len(check(defined(), hw.Level(hw.on_request()), trained(fitted))) == 2


def test_a_model_that_was_trained_and_kept_passes_its_own_check(tmp_path):
    registry = hw.operations.ModelRegistry(tmp_path)
    of = defined()
    hw.train(
        of,
        level=hw.Level(HOURLY),
        level_name="hourly",
        as_of=START.replace(day=20),
        resources=hw.Resources(threads=1),
    ).register(registry)
    served = registry.open(of, "hourly")
    assert check(of, hw.Level(HOURLY), served) == []
    with pytest.raises(DataError, match="view 'item'"):
        check(of, hw.Level(BATCH), served)
