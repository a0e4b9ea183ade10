"""A training row is what the semantics say: seeded worlds, cell by cell, against the oracle.

In memory and spilled to disk, from frames and from files, at the defined freshness and at levels,
of plain, changing and enriched sources, with labels and without.
"""

import random
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from tests.laws import chained_worlds, worlds
from tests.laws import oracle as o
from tests.laws.compare import differences, same_bits, wrong_dtypes
from tests.laws.definitions import UTC, Definitions, duration, frame_of, freshness_of
from tests.laws.worlds import instant, make_world

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

BLOCK = 25  # worlds of one test


def seeds(count):
    """Blocks of seeds, the same ones in each run; six times as many with the slow ones."""
    blocks = [range(first, first + BLOCK) for first in range(0, 6 * count, BLOCK)]
    return [
        pytest.param(block, marks=() if block.stop <= count else pytest.mark.slow)
        for block in blocks
    ]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


def defined(world, table=None):
    """headwater's view of a world, over its rows or over another table of them."""
    table = frame_of(world.view.source.rows, world.schema) if table is None else table
    return Definitions({"s": table}).view(world.view)


def asked(world):
    return frame_of(world.asked, world.asked_schema)


@pytest.mark.parametrize("block", seeds(100), ids=str)
def test_worlds(block):
    wrong = []
    for world in map(make_world, block):
        got = hw.get_historical_features(defined(world), asked(world), statuses=True)
        assert got.select(list(world.asked_schema)).equals(asked(world)), (
            "one row out for each row in, in order"
        )
        wrong += [
            f"seed {world.seed}: {cell}" for cell in differences(world.view, world.asked, got)
        ]
        wrong += [
            f"seed {world.seed}: {name}" for name in wrong_dtypes(world.view, world.schema, got)
        ]
    assert wrong == []


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_worlds_of_changes(block):
    wrong = []
    for seed in block:
        world = make_world(seed, changes=True)
        got = hw.get_historical_features(defined(world), asked(world), statuses=True)
        wrong += [f"seed {seed}: {cell}" for cell in differences(world.view, world.asked, got)]
    assert wrong == []


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_worlds_at_levels(block):
    """A level is another freshness, and other known times of sources without `changes`."""
    wrong = []
    for seed in block:
        world, r = make_world(seed, changes=seed % 5 == 0), random.Random(seed)
        freshness = worlds.make_freshness(r)
        after = None if world.view.source.changes else r.choice([None, 0, o.MINUTE, o.HOUR])
        view = defined(world)
        level = hw.Level(
            freshness_of(freshness),
            known_after={} if after is None else {view.source: duration(after)},
        )
        got = hw.get_historical_features(view, asked(world), statuses=True, level=level)
        changed = o.at_level(world.view, freshness, {} if after is None else {"s": after})
        wrong += [f"seed {seed}: {cell}" for cell in differences(changed, world.asked, got)]
    assert wrong == []


@pytest.mark.parametrize(
    "block",
    [range(first, first + 5) for first in (0, 5)],
    ids=str,
)
def test_spilled_worlds_are_those_in_memory_to_the_bit(block, tmp_path):
    """With too little memory for its events, a history is split by key on disk, under headwater's
    home; nothing else changes, in any order of its rows."""
    on_disk = set()
    for seed in block:
        world = many(make_world(seed, changes=seed % 4 == 3))
        frame = frame_of(world.view.source.rows, world.schema)
        whole = hw.get_historical_features(defined(world, frame), asked(world), statuses=True)
        assert [
            f"seed {seed}: {cell}" for cell in differences(world.view, world.asked, whole)
        ] == []
        seen = lambda *_, seed=seed: (  # noqa: E731
            any(p.is_file() for p in (tmp_path / "home").rglob("*")) and on_disk.add(seed)
        )
        split = hw.get_historical_features(
            defined(world, frame.sample(fraction=1, shuffle=True, seed=seed)),
            asked(world),
            statuses=True,
            resources=hw.Resources(memory="1MB", threads=1 + seed % 2, progress=seen),
        )
        assert same_bits(whole, split), f"seed {seed}"
    assert on_disk


def many(world):
    """The world twelve times, each with keys of its own where there are keys, and times that
    differ.
    """
    rows = []
    for number in range(12):
        for row in world.view.source.rows:
            later = {
                c: row[c] and row[c] + timedelta(microseconds=7 * number) for c in ("at", "known")
            }
            rows.append(row | later | {"id": row["id"] * 12 + number})
    return replace(world, view=replace(world.view, source=replace(world.view.source, rows=rows)))


# ---------------------------------------------------------------- several views, enriched events


def chain_definitions(chain):
    def table(source):
        own = {source.known_at_field, source.id_field}
        return frame_of(
            source.rows,
            {
                c: t
                for c, t in chained_worlds.SCHEMA.items()
                if c not in ("known", "id") or c in own
            },
        )

    return Definitions({"base": table(chain.base), "other": table(chain.other)})


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_chains(block):
    """Views next to each other, aliases, keys filled with features and lists, and a chained
    view.
    """
    wrong = []
    for seed in block:
        chain = chained_worlds.make_chain(seed)
        views = [*chain.members, chain.listed, chain.view]
        made = chain_definitions(chain)
        rows = frame_of(chain.asked, chained_worlds.ASKED)
        got = hw.get_historical_features([made.view(v) for v in views], rows, statuses=True)
        wrong += [
            f"seed {seed}: {cell}" for view in views for cell in differences(view, chain.asked, got)
        ]
    assert wrong == []


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_chains_at_levels(block):
    """A level changes the freshness of the read alone; `known_after` of a base or of an enriching
    view applies inside."""
    wrong = []
    for seed in block:
        chain, r = chained_worlds.make_chain(seed), random.Random(seed)
        freshness = r.choice(
            [o.OnRequest(), o.Streaming(o.MINUTE), o.Batch(o.HOUR, delay=o.MINUTE)]
        )
        sooner = r.choice(
            [{}, {"base": 0}, {"base": o.HOUR}, {"base": o.MINUTE, "other": o.SECOND}]
        )
        sooner = {
            name: d for name, d in sooner.items() if name in (chain.base.name, chain.other.name)
        }
        made = chain_definitions(chain)
        view = made.view(chain.view)
        sources = {"base": made.source(chain.base), "other": made.source(chain.other)}
        level = hw.Level(
            freshness_of(freshness),
            known_after={sources[name]: duration(d) for name, d in sooner.items()},
        )
        got = hw.get_historical_features(
            view, frame_of(chain.asked, chained_worlds.ASKED), statuses=True, level=level
        )
        changed = o.at_level(chain.view, freshness, sooner)
        wrong += [f"seed {seed}: {cell}" for cell in differences(changed, chain.asked, got)]
    assert wrong == []


# --------------------------------------------------------------------------------------- labels

OUTCOMES = [
    o.Aggregation("count"),
    o.Aggregation("count", where="b"),
    o.Aggregation("sum", ("j",)),
    o.Aggregation("mean", ("f",)),
    o.Aggregation("max", ("j",), where="w"),
    o.Aggregation("last", ("j",)),
    o.Aggregation("count_distinct", ("s",), where="b"),
    o.Aggregation("fraction", ("b",)),
    o.Aggregation("since_last"),
]


def make_labels(world, seed):
    """Labels over the rows that a world asks with: a column, or an outcome of the world's
    events.
    """
    r = random.Random(seed)
    rows = [
        row
        | {
            "y": r.choice([0.0, 1.0, 2.5, None, float("nan")]),
            "weight": r.choice([0.0, 1.0, None]),
            "number": n,
        }
        | {
            "known": r.choice(
                [
                    None,
                    *[
                        row["timestamp"] + timedelta(microseconds=d)
                        for d in (0, 1, o.MINUTE, o.DAY)
                    ],
                ]
            )
        }
        for n, row in enumerate(world.asked)
    ]
    labels = o.Labels("label", rows, "y", weight=r.choice([None, "weight"]))
    if seed % 2:
        within = r.choice([1, o.MINUTE, o.HOUR, o.HOUR + 7 * o.SECOND, o.DAY])
        label = o.Outcome(world.view.source, r.choice(OUTCOMES), world.view.keys, within)
        return replace(labels, label=label)
    return (
        replace(labels, known_at_field="known")
        if r.random() < 0.5
        else replace(labels, known_after=r.choice([0, 1, o.HOUR]))
    )


def label_frame(world, labels):
    more = {"y": pl.Float64(), "weight": pl.Float64(), "number": pl.Int64(), "known": UTC}
    return frame_of(labels.rows, world.asked_schema | more)


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_labels_and_training_sets(block, tmp_path):
    """A row of labels comes with its outcome, if it has one; a training set has those of them whose
    outcome was known by then, and its file says the same."""
    wrong = []
    for seed in block:
        world = make_world(seed, changes=seed % 7 == 0)
        labels, made = (
            make_labels(world, seed),
            Definitions({"s": frame_of(world.view.source.rows, world.schema)}),
        )
        view, defined_labels = (
            made.view(world.view),
            made.labels(labels, label_frame(world, labels)),
        )
        expected = o.labelled_rows(labels)
        if not expected:
            with pytest.raises(DataError, match="left out"):
                hw.get_historical_features(view, defined_labels)
            continue
        got = hw.get_historical_features(view, defined_labels, statuses=True)
        wrong += [f"seed {seed}: {cell}" for cell in wrong_labels(labels, expected, got)]
        wrong += [
            f"seed {seed}: {cell}"
            for cell in differences(world.view, [each.row for each in expected], got)
        ]
        as_of = random.Random(seed).choice([each.known for each in expected])
        trained = o.training_rows(labels, as_of)
        model = hw.Model(
            "m", features=hw.FeatureService("f", [view]), labels=defined_labels, task="regression"
        )
        written = hw.dataset(
            model,
            tmp_path / f"{seed}.parquet",
            as_of=instant(as_of),
            resources=hw.Resources(cache=False),
        )
        read = pl.read_parquet(written.path)
        assert read.height == written.manifest["rows"] == len(trained)
        wrong += [f"seed {seed} written: {cell}" for cell in wrong_labels(labels, trained, read)]
        # maps are lists of pairs in a file
        if not any(f.aggregation.by for f in o.features_of(world.view)):
            wrong += [
                f"seed {seed} written: {cell}"
                for cell in differences(world.view, [each.row for each in trained], read)
            ]
        again = hw.operations.reproduce(
            model, written.manifest_path, tmp_path / f"{seed}.again.parquet"
        )
        assert again.manifest["digest"] == written.manifest["digest"]
    assert wrong == []


def wrong_labels(labels, expected, got):
    """Where the rows are others, in another order, or their outcomes differ."""
    name = labels.label if isinstance(labels.label, str) else labels.name
    if [each.row["number"] for each in expected] != got["number"].to_list():
        return [f"rows {got['number'].to_list()}, not {[each.row['number'] for each in expected]}"]
    found = zip(expected, got[name].to_list(), strict=True)
    return [
        f"label {value!r}, not {each.label}"
        for each, value in found
        if not o.says(each.label, value)
    ]


# ---------------------------------------------------------------------------------- files and forms


@pytest.mark.parametrize("block", seeds(25), ids=str)
def test_neither_order_nor_threads_nor_company_change_a_bit(block):
    """Rows of the source in any order, more threads, other rows and views next to them: equal to
    the bit.
    """
    for seed in block:
        world = make_world(seed, changes=seed % 3 == 0)
        frame = frame_of(world.view.source.rows, world.schema)
        view, rows = defined(world, frame), asked(world)
        alone = hw.get_historical_features(
            view, rows, statuses=True, resources=hw.Resources(threads=1)
        )
        shuffled = defined(world, frame.sample(fraction=1, shuffle=True, seed=seed))
        assert same_bits(
            alone,
            hw.get_historical_features(
                shuffled, rows, statuses=True, resources=hw.Resources(threads=2)
            ),
        ), seed
        beside = hw.FeatureView(
            "beside",
            source=view.source,
            keys=view.keys,
            features=[hw.count()],
            freshness=view.freshness,
        )
        order = list(range(len(rows)))[::-1]
        both = hw.get_historical_features([beside, view], rows[order + order], statuses=True)
        assert same_bits(alone, both.select(alone.columns)[len(rows) :][order]), seed
