"""Definitions that change while a stream runs: a value is what the reference says of all that was
sent, or it is said to be incomplete.
"""

import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater import clock as clocks
from headwater.ingestion import past_events
from headwater.monitoring.explain import explain_feature
from headwater.monitoring.parity import check_view
from headwater.testing.naive import evaluate
from headwater.testing.processes import Process
from tests.flow import Flow, at, clock, home, micros  # noqa: F401 (fixtures)

COLUMNS = {"id": str, "key": str, "other": int, "v": int, "at": datetime}
SELECT = ["id", "key", "other", "v"]
RULES = {"timestamp_field": "at", "select": SELECT, "writers": "one"}
FEATURES = [hw.count(), hw.sum("v"), hw.max("v"), hw.last("v")]


@pytest.fixture
def store(either):
    return either


def view(
    name="view",
    *,
    keys=("key",),
    features=FEATURES,
    columns=COLUMNS,
    topic="t",
    windows=("1h",),
    **rules,
):
    source = hw.Source("events", **{**RULES, "stream": hw.kafka(topic, schema=columns), **rules})
    return hw.FeatureView(
        name,
        source=source,
        keys=list(keys),
        features=features,
        windows=list(windows),
        freshness=hw.streaming("2s"),
    )


def row(ident, second, v, key="a", other=1):
    return {"id": ident, "at": second, "v": v, "key": key, "other": other}


def project(*views):
    """A project of a model over these views, with keys of the types that they have."""
    table = pl.DataFrame({"key": ["a"], "other": [1], "at": [at(10)], "amount": [1.0]})
    labels = hw.Labels(
        "labels", table=table, timestamp_field="at", label="amount", known_after="1h"
    )
    model = hw.Model(
        "model",
        task="regression",
        features=hw.FeatureService("service", list(views)),
        labels=labels,
    )
    return hw.Project("project", [model])


def read(row):
    """A row with times in place of seconds and of text."""
    moments = {
        name: datetime.fromisoformat(row[name]) for name in ("changed", "seen") if name in row
    }
    return {**row, "at": at(row["at"]), **moments}


class Sent:
    """A store that definitions follow one another over, and all that was sent to it."""

    def __init__(self, store, folder, clock):
        self.store, self.folder, self.clock, self.rows, self.offset = store, folder, clock, [], 0

    def ingest(self, views, rows, second):
        """Ingest as `views` define it, as a process that has just started does."""
        self.clock(second)
        flow = Flow(views, self.store, self.folder)
        flow.offset = self.offset
        flow.send(rows, second)
        self.offset = flow.offset
        self.rows += [{"known": at(second), **read(row)} for row in rows]
        return flow

    def read(self, of, keys, second):
        """The values of a key as plain reads and as frames give them: alike, flags too."""
        features = hw.operations.OnlineFeatures(hw.FeatureService("s", [of]), self.store)
        answer = features.row(keys, t=micros(second))
        frame = features.read([keys], at=at(second), details=True)
        values = [frame[name][0] for name in of.feature_names]
        assert (answer.values, answer.read_versions[0].incomplete) == (
            values,
            frame[f"{of.feature_names[0]}__incomplete"][0],
        )
        return values, answer.read_versions[0]

    def expected(self, of, keys, second, accepts):
        """What the reference says of what was sent, of rows that the definition accepts."""
        rules = {
            name: getattr(of.source, name)
            for name in ("timestamp_field", "id_field", "id_horizon", "changes")
        }
        known = of.source.known_at_field or "known"
        source = hw.Source("events", known_at_field=known, **rules)
        given = [row for row in self.rows if accepts(row)]
        asked = replace(of, source=source, freshness=hw.on_request())
        (found,) = evaluate(asked, given, [{**keys, "timestamp": at(second)}])
        return [found[name].value for name in of.feature_names]


FLOATS = {**COLUMNS, "v": float}
SMALL = {**COLUMNS, "v": pl.Int8}
WITHOUT_OTHER = {name: dtype for name, dtype in COLUMNS.items() if name != "other"}
BEFORE = [row("x", 1, 1), row("x", 2, 1), row("y", 3, 3), row("z", 4, 5, key=None)]
AFTER = [row("x", 11, 1), row("y", 12, 3), row("w", 13, 7), row("q", 14, 9, other=2)]


def over(limit):
    return lambda row: row["v"] > limit


def everything(_row):
    return True


def case(
    name, first, second, accepts=everything, keys=None, before=BEFORE, after=AFTER, rebuilt=True
):
    return pytest.param(
        first, second, accepts, keys or {"key": "a"}, before, after, rebuilt, id=name
    )


CASES = [
    case("an id is added", view(), view(id_field="id")),
    case("an id is removed", view(id_field="id"), view()),
    case(
        "an id horizon is longer",
        view(id_field="id", id_horizon="4s"),
        view(id_field="id", id_horizon="1h"),
    ),
    case(
        "an id horizon is shorter",
        view(id_field="id", id_horizon="1h"),
        view(id_field="id", id_horizon="5s"),
    ),
    case(
        "a filter is loosened", view(filter=pl.col("v") > 2), view(filter=pl.col("v") > 0), over(0)
    ),
    case(
        "a filter is tightened", view(filter=pl.col("v") > 0), view(filter=pl.col("v") > 2), over(2)
    ),
    case(
        "a filter is added, with ids",
        view(id_field="id"),
        view(id_field="id", filter=pl.col("v") > 2),
        over(2),
    ),
    case(
        "a filter is removed, with ids",
        view(id_field="id", filter=pl.col("v") > 2),
        view(id_field="id"),
    ),
    case("other keys", view(), view(keys=["other"]), keys={"other": 1}),
    case(
        "more keys", view(keys=["key"]), view(keys=["key", "other"]), keys={"key": "a", "other": 1}
    ),
    case("int to float", view(), view(columns=FLOATS), before=[*BEFORE, row("f", 5, 2.5)]),
    case("int8 to int64", view(columns=SMALL), view(), before=[*BEFORE, row("big", 5, 1000)]),
    case(
        "float to int",
        view(columns=FLOATS),
        view(),
        lambda r: isinstance(r["v"], int),
        before=[*BEFORE, row("f", 5, 2.5)],
        rebuilt=False,
    ),
    case(
        "a column that was not kept",
        view(columns=WITHOUT_OTHER, select=["id", "key", "v"]),
        view(keys=["other"]),
        keys={"other": 1},
        rebuilt=False,
    ),
    case("another aggregation", view(features=[hw.count(), hw.min("v")]), view()),
    case("another window", view(windows=["10m"]), view()),
    case("a lifetime", view(), view(windows=["1d"], features=[hw.count(), hw.sum("v")])),
]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
@pytest.mark.parametrize(
    ("first", "second", "accepts", "keys", "before", "after", "rebuilt"), CASES
)
def test_a_change_is_rebuilt_or_incomplete(
    store, tmp_path, clock, first, second, accepts, keys, before, after, rebuilt, kept
):
    here = Sent(store, tmp_path if kept else None, clock)
    here.ingest([first], before, 10)
    here.ingest([second], [], 10)
    check(here, second, keys, 10, accepts, rebuilt=rebuilt and kept)
    here.ingest([second], after, 20)
    check(here, second, keys, 20, accepts, rebuilt=rebuilt and kept)
    if kept:
        compared = check_view(second, store, tmp_path, at=micros(21))
        assert (compared.mismatches, bool(compared.values), bool(compared.notes)) == (
            [],
            rebuilt,
            not rebuilt,
        )


# ---------------------------------------------------------------- events that can be taken back

IMAGES = {
    **COLUMNS,
    "changed": datetime,
    "seen": datetime,
    "gone": bool,
    "undone": bool,
    "more": int,
}
IMAGE_RULES = {"id_field": "id", "known_at_field": "changed", "changes": "gone"}


def images(name="view", *, columns=IMAGES, select=(*SELECT, "changed", "gone"), **more):
    return view(
        name,
        columns=columns,
        **{"select": None if select is None else list(select), **IMAGE_RULES, **more},
    )


def image(ident, second, v, changed, *, gone=False, **more):
    stated = {
        "changed": at(changed).isoformat(),
        "seen": at(changed + 0.5).isoformat(),
        "gone": gone,
        "undone": gone,
    }
    return {**row(ident, second, v, **more), **stated, "more": 0}


STATED = [image("x", 1, 1, 2), image("y", 3, 3, 4), image("z", 4, 5, 5), image("s", 4, 6, 5)]
CORRECTED = [image("x", 1, 1, 6, gone=True), image("x", 1, 4, 6), image("z", 4, 5, 7, gone=True)]
SUPERSEDED = [*STATED, *CORRECTED, image("s", 4, 2, 4.5)]
CHANGED = [
    image("y", 3, 3, 11, gone=True),
    image("y", 3, 8, 11),
    image("z", 4, 2, 12),
    image("w", 13, 7, 14, other=2),
]
UNDONE = [*CHANGED, image("x", 1, 4, 15, gone=True)]
SELECTED = (*SELECT, "changed", "gone")


def change(
    name,
    first,
    second,
    accepts=everything,
    keys=None,
    before=(STATED, CORRECTED),
    after=UNDONE,
    rebuilt=True,
    kept=False,
):
    """`kept`: the change touches no column that is read, so records are kept, with an archive or
    without.
    """
    return pytest.param(
        first, second, accepts, keys or {"key": "a"}, before, after, rebuilt, kept, id=name
    )


LESS = {name: dtype for name, dtype in IMAGES.items() if name != "more"}
CHANGES = [
    change(
        "a filter is loosened",
        images(filter=pl.col("v") > 2),
        images(filter=pl.col("v") > 0),
        over(0),
        rebuilt=False,
    ),
    change(
        "a filter is loosened, and nothing was left out",
        images(filter=pl.col("v") > 0),
        images(filter=pl.col("v") > -1),
        over(-1),
    ),
    change(
        "a filter is tightened",
        images(filter=pl.col("v") > 0),
        images(filter=pl.col("v") > 2),
        over(2),
    ),
    change(
        "a filter is tightened to events that are corrected later",
        images(),
        images(filter=pl.col("v") > 3),
        over(3),
    ),
    change(
        "a filter is tightened, and what it leaves out came before the rest",
        images(),
        images(filter=pl.col("v") < 6),
        lambda row: row["v"] < 6,
        before=(SUPERSEDED,),
        rebuilt=False,
    ),
    change("a filter is removed", images(filter=pl.col("v") > 2), images(), rebuilt=False),
    change(
        "another id",
        images(),
        images(id_field="other", select=(*SELECT, "changed", "gone")),
        before=(STATED[:1],),
        rebuilt=True,
    ),
    change(
        "another id, of what came before another",
        images(),
        images(id_field="key"),
        before=(SUPERSEDED,),
        rebuilt=False,
    ),
    change(
        "another flag", images(), images(changes="undone", select=(*SELECT, "changed", "undone"))
    ),
    change(
        "another time of change",
        images(),
        images(known_at_field="seen", select=(*SELECT, "seen", "gone")),
    ),
    change("other keys", images(), images(keys=["other"]), keys={"other": 1}),
    change("more keys", images(), images(keys=["key", "other"]), keys={"key": "a", "other": 1}),
    change(
        "int to float",
        images(),
        images(columns={**IMAGES, "v": float}),
        after=[*UNDONE, image("f", 5, 2.5, 15)],
    ),
    change(
        "int8 to int64",
        images(columns={**IMAGES, "v": pl.Int8}),
        images(),
        after=[*UNDONE, image("big", 5, 1000, 15)],
    ),
    change("float to int", images(columns={**IMAGES, "v": float}), images(), rebuilt=False),
    change(
        "all columns, and one more",
        images(columns=LESS, select=None),
        images(select=None),
        kept=True,
    ),
    change(
        "all columns, and one less",
        images(select=None),
        images(columns=LESS, select=None),
        kept=True,
    ),
    change(
        "all columns, and another type of one",
        images(columns={**IMAGES, "more": float}, select=None),
        images(select=None),
        kept=True,
    ),
    change("fewer columns", images(select=[*SELECTED, "more"]), images()),
    change("more columns", images(), images(select=[*SELECTED, "more"])),
    change("another aggregation", images(features=[hw.count(), hw.min("v")]), images()),
    change("another window", images(windows=["10m"]), images()),
]


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "no archive"])
@pytest.mark.parametrize(
    ("first", "second", "accepts", "keys", "before", "after", "rebuilt", "kept"), CHANGES
)
def test_a_change_of_what_can_be_taken_back(
    store, tmp_path, clock, first, second, accepts, keys, before, after, rebuilt, kept, archive
):
    here = Sent(store, tmp_path if archive else None, clock)
    whole = kept or (rebuilt and archive)
    for n, rows in enumerate(before):
        here.ingest([first], rows, 9 + n)
    here.ingest([second], [], 10)
    check(here, second, keys, 10, accepts, rebuilt=whole)
    for n, rows in enumerate(
        (after, [image("w", 13, 1, 18, other=2), image("y", 3, 8, 18, gone=True)])
    ):
        here.ingest([second], rows, 20 + n)
        check(here, second, keys, 20 + n, accepts, rebuilt=whole)
    if archive:
        compared = check_view(second, store, tmp_path, at=micros(22))
        assert (compared.mismatches, bool(compared.values)) == ([], whole)
        # that the archive has other columns is a note
        assert kept or bool(compared.notes) == (not whole)
    here.ingest([second], [image("last", 3800, 5, 3801)], 3900)
    values, moment = here.read(second, keys, 3900)
    assert (values, moment.incomplete) == (here.expected(second, keys, 3900, accepts), False)


def check(here, of, keys, second, accepts, *, rebuilt):
    values, moment = here.read(of, keys, second)
    if rebuilt:
        assert (values, moment.incomplete) == (here.expected(of, keys, second, accepts), False)
    else:
        assert (values, moment.incomplete) == ([None] * len(values), True)
        (seen,) = hw.status(
            project(of), store=here.store, data_dir=here.folder, at=at(second)
        ).views
        assert seen.state == "incomplete"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (view(), view(id_field="id")),
        (view(id_field="id"), view()),
        (view(id_field="id", id_horizon="4s"), view(id_field="id")),
        (view(id_field="id"), view(id_field="id", id_horizon="5s")),
    ],
    ids=["added", "removed", "longer horizon", "shorter horizon"],
)
def test_an_explanation_counts_what_the_rebuild_serves(store, tmp_path, clock, first, second):
    """Also of an archive that was written by another rule of ids."""
    here = Sent(store, tmp_path, clock)
    here.ingest([first], BEFORE, 10)
    here.ingest([second], [], 10)
    here.ingest([second], AFTER, 20)
    expected = here.expected(second, {"key": "a"}, 20, everything)
    for name, value in zip(second.feature_names, expected, strict=True):
        said = explain_feature(second, name, {"key": "a"}, store, tmp_path)
        assert (said.online, said.offline) == (value, value)


@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
def test_back_to_an_old_definition(store, tmp_path, clock, kept):
    a, b = view(), view(features=[hw.count(), hw.min("v")])
    here = Sent(store, tmp_path if kept else None, clock)
    here.ingest([a], BEFORE, 10)
    server = hw.operations.OnlineFeatures(hw.FeatureService("s", [a]), store)
    assert not server.row({"key": "a"}, t=micros(10)).read_versions[0].incomplete
    here.ingest([b], AFTER, 20)
    assert server.row({"key": "a"}, t=micros(20)).read_versions[0].incomplete
    assert server.row({"key": "a"}, t=micros(20)).values == [None] * 4
    here.ingest([a], [row("last", 21, 2)], 30)
    check(here, a, {"key": "a"}, 30, everything, rebuilt=kept)
    if kept:
        assert server.row({"key": "a"}, t=micros(30)).values == here.expected(
            a, {"key": "a"}, 30, everything
        )


@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
def test_a_view_that_was_dropped_and_is_added_again(store, tmp_path, clock, kept):
    a, other = view(), view("other", keys=["other"])
    here = Sent(store, tmp_path if kept else None, clock)
    here.ingest([a, other], BEFORE, 10)
    here.ingest([other], AFTER, 20)
    check(here, other, {"other": 1}, 20, everything, rebuilt=True)
    here.ingest([a, other], [row("last", 21, 2)], 30)
    check(here, a, {"key": "a"}, 30, everything, rebuilt=kept)
    check(here, other, {"other": 1}, 30, everything, rebuilt=True)


def test_a_column_of_another_type_is_never_read_by_a_server_that_knows_the_old_one(
    store, tmp_path, clock
):
    here = Sent(store, tmp_path, clock)
    here.ingest([view()], BEFORE, 10)
    server = hw.operations.OnlineFeatures(hw.FeatureService("s", [view()]), store)
    assert server.row({"key": "a"}, t=micros(10)).values == here.expected(
        view(), {"key": "a"}, 10, everything
    )
    floats = view(columns=FLOATS)
    here.ingest([floats], [row("f", 11, 2.5)], 20)
    assert server.row({"key": "a"}, t=micros(20)).values == here.expected(
        floats, {"key": "a"}, 20, everything
    )


@pytest.mark.parametrize(("windows", "later"), [(["1h"], 3700), (["1h"], 3500), (None, 10**7)])
def test_without_an_archive_a_view_is_incomplete_until_its_longest_window_has_passed(
    store, clock, windows, later
):
    lasting = hw.FeatureView(
        "view",
        source=view().source,
        keys=["key"],
        features=FEATURES,
        windows=windows,
        freshness=hw.streaming("2s"),
    )
    here = Sent(store, None, clock)
    here.ingest([view("first")], BEFORE, 10)
    here.ingest([lasting], [], 10)
    here.ingest([lasting], [row("late", later - 1, 4)], later)
    whole = windows is not None and later > 3600
    values, moment = here.read(lasting, {"key": "a"}, later)
    assert (values[0], moment.incomplete) == (1 if whole else None, not whole)


@pytest.mark.parametrize("says", ["null", "value", "refuse"])
def test_what_is_incomplete_is_served_as_the_view_says(store, clock, says):
    here = Sent(store, None, clock)
    here.ingest([view("first")], BEFORE, 10)
    of = view()
    of = replace(of, on_incomplete=says)
    here.ingest([of], [row("new", 11, 4)], 20)
    if says == "refuse":
        for read in (
            lambda f: f.row({"key": "a"}, t=micros(20)),
            lambda f: f.read([{"key": "a"}], at=at(20)),
        ):
            with pytest.raises(hw.errors.IncompleteError, match="lack events that were received"):
                read(hw.operations.OnlineFeatures(hw.FeatureService("s", [of]), store))
    else:
        values, moment = here.read(of, {"key": "a"}, 20)
        assert (values[0], moment.incomplete, moment.stale) == (
            1 if says == "value" else None,
            True,
            False,
        )


def test_a_stream_that_comes_from_elsewhere_begins_anew(store, tmp_path, clock):
    here, there = Sent(store, tmp_path, clock), Sent(store, tmp_path, clock)
    here.ingest([view()], BEFORE, 10)
    there.ingest([view(topic="u")], AFTER, 20)
    check(there, view(topic="u"), {"key": "a"}, 20, everything, rebuilt=False)
    check(here, view(), {"key": "a"}, 20, everything, rebuilt=True)
    there.ingest([view(topic="u")], [], 4000)
    check(there, view(topic="u"), {"key": "a"}, 4000, everything, rebuilt=True)


REBUILDS = [
    (view(), view(filter=pl.col("v") > 1), "its source events has another filter"),
    (
        view(),
        view(columns=FLOATS),
        "the stream of its source events has other columns, types or formats",
    ),
    (view(), view(topic="u"), "comes from elsewhere: the Kafka topic 't' → the Kafka topic 'u'"),
    (view(), view(features=[hw.count()]), "features removed"),
    (view(), view(), None),
]


@pytest.mark.parametrize(("first", "second", "why"), REBUILDS)
def test_a_plan_says_which_views_are_filled_again_and_why(tmp_path, first, second, why):
    catalog = str(tmp_path / "catalog.sqlite")
    hw.apply(project(first), catalog)
    made = hw.plan(project(second), catalog)
    if why is None:
        assert made.rebuilt == {}
    else:
        assert why in made.rebuilt["view"]
        assert "view view is filled again by headwater ingest: " in str(made)


def test_a_plan_says_that_a_view_comes_back(tmp_path):
    catalog, both = str(tmp_path / "catalog.sqlite"), (view(), view("other", keys=["other"]))
    hw.apply(project(*both), catalog)
    hw.apply(project(both[0]), catalog, allow_destroy=True, allow_breaking=True)
    assert hw.plan(project(*both), catalog).rebuilt == {
        "other": "it was applied before, and may have missed events since"
    }


@pytest.mark.slow
def test_killed_while_a_change_is_rebuilt(tmp_path, clock):
    """At each commit of the rebuild in turn: the next start goes on, and values are right."""
    url, after = f"lmdb:{tmp_path}/online?size=1GB", view(id_field="id")
    rows = [row(f"e{n % 30}", n, n) for n in range(40)]
    with closing(hw.operations.open_store(url)) as store:
        here = Sent(store, tmp_path, clock)
        here.ingest([view()], rows, 50)
    for steps in range(1, 5):
        child = Process(rebuild_slowly, url, str(tmp_path))
        for _ in range(steps):
            child.wait()
        child.kill()
        with closing(hw.operations.open_store(url)) as store:
            said = hw.operations.OnlineFeatures(hw.FeatureService("s", [view()]), store).row(
                {"key": "a"}, t=micros(50)
            )
            assert (said.values[0], said.read_versions[0].incomplete) in ((40, False), (None, True))
    with closing(hw.operations.open_store(url)) as store:
        here.store = store
        here.ingest([after], [row("new", 55, 1), row("e1", 56, 1)], 60)
        check(here, after, {"key": "a"}, 60, everything, rebuilt=True)


def rebuild_slowly(pipe, url, folder):
    """Open the stream by other rules, and say each commit of the rebuild before taking time."""
    clocks.now_micros = lambda: micros(50)
    past_events.ROWS = 8
    with closing(hw.operations.open_store(url)) as store:
        commit = store.commit

        def told(changes, expect):
            commit(changes, expect)
            pipe.send("committed")
            time.sleep(0.2)

        store.commit = told
        Flow([view(id_field="id")], store, Path(folder))
        time.sleep(60)
