"""A view that may lack events says so for as long as it may; and how one gets all of them again."""

import shutil
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import IncompleteError
from tests.laws.streams import TIME
from tests.laws.test_changed_definitions import SCHEMA, shop  # noqa: F401 (a fixture)


@pytest.fixture
def opened(shop):
    """The shop, whose store stays open in this process."""
    with closing(hw.operations.open_store(shop.url)) as store:
        shop.url = store
        yield shop


def server(shop, view):
    """A process that serves: it opens its view once; the value of a key, and whether it is
    incomplete, by each way of reading.
    """
    features = hw.operations.OnlineFeatures(hw.FeatureService("s", [view]), shop.url)

    def read():
        t = shop.now.wall()
        one = features.row({"key": "a"}, t=t)
        several = features.rows({"key": ["a", "b"]}, t=t)
        frame = features.read([{"key": "a"}], at=shop.now.time(), details=True)
        said = one.values[0], one.read_versions[0].incomplete
        assert (several.values[0][0], several.read_versions[0].incomplete) == said
        (name,) = view.feature_names
        assert (frame[name][0], frame[f"{name}__incomplete"][0]) == said
        return said

    return read


def states(shop):
    found = hw.status(shop.last, store=shop.url, data_dir=shop.folder / "home")
    return {view.view: view.state for view in found.views}


def without_archive(shop):
    shutil.rmtree(shop.folder / "home" / "archive")


# ---------------------------------------------------------------- a server, and definitions that change


@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
def test_a_server_of_an_old_definition_says_that_it_lacks_events(opened, kept):
    """While another one is ingested; and after the change is taken back, it has them again."""
    old, new = opened.view(), opened.view(hw.max("v"))
    opened.put({}, {})
    opened.run(old)
    read = server(opened, old)
    assert read() == (2, False)
    opened.put({})
    opened.run(new)
    opened.now.advance("2s")
    assert read() == (None, True)
    if not kept:
        without_archive(opened)
    opened.put({})
    opened.run(old)
    opened.now.advance("2s")
    assert read() == server(opened, old)() == ((4, False) if kept else (None, True))
    opened.put({})
    opened.run(old, passed="2d")
    opened.now.advance("2s")
    assert read() == (0, False)


def test_a_server_reads_no_bytes_of_one_type_as_another(opened):
    whole = opened.view(hw.sum("v"))
    real = opened.view(hw.sum("v"), source=opened.source(schema=SCHEMA | {"v": pl.Float64}))
    opened.put({"v": 1})
    opened.run(whole)
    read = server(opened, whole)
    assert read() == (1, False)
    opened.put({"v": 2.5})
    opened.run(real)
    opened.now.advance("2s")
    assert read()[0] in (None, 3.5)
    assert server(opened, real)() == (3.5, False)


@pytest.mark.parametrize(
    ("windows", "later", "whole"),
    [(("1h",), "62m", True), (("1h",), "55m", False), (("lifetime",), "400d", False)],
)
def test_a_new_view_without_an_archive_is_incomplete_until_its_window_has_passed(
    shop, windows, later, whole
):
    shop.put({})
    shop.run(shop.view(name="first"))
    without_archive(shop)
    new = shop.view(windows=tuple(map(hw.window, windows)))
    shop.run(new)
    assert states(shop) == {"user": "incomplete"}
    shop.put({"at": shop.now.time() + timedelta(seconds=1)})
    shop.run(new, passed=later)
    shop.put({})
    shop.run(new)
    row = shop.read(new)
    (name,) = new.feature_names
    assert (row[name] is not None, row[f"{name}__incomplete"]) == (whole, not whole)


@pytest.mark.parametrize("says", ["null", "value", "refuse"])
def test_what_is_incomplete_is_served_as_the_view_says(shop, says):
    shop.put({})
    shop.run(shop.view(name="first"))
    without_archive(shop)
    view = replace(shop.view(), on_incomplete=says)
    shop.put({})
    shop.run(view)
    if says == "refuse":
        with pytest.raises(IncompleteError, match="lack events that were received"):
            shop.read(view)
    else:
        row = shop.read(view)
        assert row["user__count_1d"] == (1 if says == "value" else None)
        assert row["user__count_1d__incomplete"]


# ---------------------------------------------------------------- records that are lost


def lose(shop):
    """The records that come next are gone: the file is another one."""
    (shop.folder / "visits.jsonl").unlink()
    shop.put({})


@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
def test_views_are_incomplete_until_the_loss_has_left_their_windows(opened, kept):
    """Also one that is added after the loss; a lifetime never forgets it."""
    shop = opened
    long, short = shop.view(name="long", windows=("1h",)), shop.view(name="short", windows=("10m",))
    ever = shop.view(name="ever", windows=(hw.window("lifetime"),))
    shop.put({}, {})
    shop.run(long, short, ever)
    readers = [server(shop, view) for view in (long, short, ever)]
    assert [read() for read in readers] == [(2, False)] * 3
    lose(shop)
    if not kept:
        without_archive(shop)
    for passed, whole in (
        ("1s", set()),
        ("9m", set()),
        ("2m", {"short"}),
        ("48m", {"short"}),
        ("2m", {"short", "long"}),
        ("400d", {"short", "long"}),
    ):
        shop.run(long, short, ever, passed=passed, accept_loss=True)
        shop.now.advance("2s")
        found = [read() for read in readers]
        assert found == [server(shop, view)() for view in (long, short, ever)]
        seen = {name for name, state in states(shop).items() if state == "current"}
        names = ("long", "short", "ever")
        assert (
            seen
            == {name for name, (_, lacks) in zip(names, found, strict=True) if not lacks}
            == whole
        ), passed
        for view in hw.parity(shop.last, store=shop.url, data_dir=shop.folder / "home"):
            assert not view.mismatches


def test_a_view_that_comes_after_a_loss_lacks_the_same_records(shop):
    first, later = shop.view(name="first"), shop.view(windows=("10m",))
    shop.put({})
    shop.run(first)
    lose(shop)
    shop.run(first, accept_loss=True)
    shop.put({})
    shop.run(first, later)
    assert shop.read(later)["user__count_10m__incomplete"]
    shop.put({"at": shop.now.time() + timedelta(minutes=12)})
    shop.run(first, later, passed="13m")
    row = shop.read(later)
    assert (row["user__count_10m"], row["user__count_10m__incomplete"]) == (1, False)


def test_a_stream_with_events_of_the_future_may_have_lost_such(shop):
    """Events of up to a day later are accepted: so long a lost one may still have been to come."""
    view = shop.view(windows=("10m",))
    shop.put({}, {"at": shop.now.time() + timedelta(seconds=20)})
    shop.run(view)
    lose(shop)
    shop.run(view, accept_loss=True)
    for passed, incomplete in (("12m", True), ("1d", False)):
        shop.put({})
        shop.run(view, passed=passed)
        assert shop.read(view)["user__count_10m__incomplete"] is incomplete


# ---------------------------------------------------------------- history, and views that begin again


def past(shop, count):
    """A history of visits of the last minutes, and its rows."""
    rows = [
        {"at": shop.ago(minutes=count - n), "key": "a", "v": 1 << n, "id": f"h{n}"}
        for n in range(count)
    ]
    types = {"at": TIME, "key": pl.String, "v": pl.Int64, "id": pl.String}
    return pl.DataFrame(rows, schema=types), rows


def test_a_stream_without_ids_beside_a_history_is_approximate_until_its_window_has_passed(shop):
    table, _ = past(shop, 5)
    source = shop.source(select=["key", "v"], history=table)
    view = shop.view(source=source, windows=("10m", "1h"))
    seen = []
    for passed in ("1s", "58m", "5m"):
        shop.put({})
        shop.run(view, passed=passed)
        seen.append((states(shop)["user"], shop.read(view)["user__count_1h__stale"]))
    assert seen == [("approximate", True), ("approximate", True), ("current", False)]


def test_a_history_is_in_each_view_once_also_in_one_that_comes_later(shop):
    table, rows = past(shop, 10)
    source = shop.source(select=["key", "v"], id_field="id", history=table)
    one, later = (shop.view(hw.sum("v"), source=source, name=name) for name in ("one", "later"))
    for number in range(5, 15):  # the first five of them are in the history too
        more = rows[number] if number < 10 else {"v": 1 << number}
        shop.put({"id": f"h{number}", **more}, file=f"visits{number % 2}.jsonl")
    shop.run(one)
    shop.expect(one, sum_v_1d=2**15 - 1)
    shop.run(one, later)
    shop.expect(later, sum_v_1d=2**15 - 1)


def test_sources_whose_names_begin_alike_and_files_of_any_name_are_kept_apart(shop):
    """A partition of the archive is named by its file; a new view is filled from all of them."""
    names = ["a b", "é ü", "x%41", "-", "k=v", "all", "0"]
    views = [
        shop.view(hw.sum("v"), source=shop.source(name, file=f"{name}-*.jsonl"), name=f"of_{name}")
        for name in ("visits", "visits2")
    ]
    for n, name in enumerate(names):
        shop.put({"v": 1 << n}, file=f"visits-{name}.jsonl")
        shop.put({"v": 1000}, file=f"visits2-{name}.jsonl")
    shop.run(*views)
    shop.expect(views[0], sum_v_1d=2 ** len(names) - 1)
    more = shop.view(hw.max("v"), hw.sum("v"), source=views[0].source, name="more")
    shop.run(*views, more)
    shop.expect(more, max_v_1d=1 << len(names) - 1, sum_v_1d=2 ** len(names) - 1)
    shop.expect(views[1], sum_v_1d=1000 * len(names))
