"""Records that cannot be read any more: values whose windows may lack them are incomplete until the
loss has left the windows.
"""

import pytest

import headwater as hw
from headwater.errors import RecreatedError, RetentionError
from headwater.ingestion.rewind import rewind
from headwater.ingestion.sources.stream_reader import integer_position
from headwater.monitoring.parity import check_view
from tests.flow import Flow, at, clock, home, micros, project_of, streaming_view  # noqa: F401 (fixtures)

YEAR = 365 * 86_400
HOUR, MINUTE = 3_600, 60


@pytest.fixture
def store(either):
    return either


def view(name="view", **more):
    return streaming_view(name=name, features=[hw.count()], freshness=hw.streaming("10s"), **more)


class Reader:
    """A process that serves: it opens views once, and reads them by every way there is."""

    def __init__(self, store, *views):
        self.views, self.features = (
            views,
            hw.operations.OnlineFeatures(hw.FeatureService("s", list(views)), store),
        )

    def read(self, second):
        """By view: its value, and whether it is incomplete."""
        answer = self.features.row({"key": 1}, t=micros(second))
        several = self.features.rows({"key": [1, 2]}, t=micros(second))
        frame = self.features.read([{"key": 1}], at=at(second), details=True)
        found = []
        for n, (view, name, moment) in enumerate(
            zip(self.views, self.features.names, answer.read_versions, strict=True)
        ):
            assert view.feature_names == (name,)
            said = answer.values[n], moment.incomplete
            assert (several.values[n][0], several.read_versions[n].incomplete) == said
            assert (frame[name][0], frame[f"{name}__incomplete"][0]) == said
            found.append(said)
        return found


def sent(flow, *seconds, known=None):
    flow.send(
        [{"key": 1, "at": second, "amount": 1.0} for second in seconds], known or max(seconds) + 1
    )


def lose(flow, second, records=5, how="retention"):
    """What `--accept-loss` does where the records that come next are gone."""
    if how == "retention":
        position = integer_position(flow.offset + records)
        error = RetentionError(
            "the topic",
            "0",
            wanted=flow.offset,
            first=flow.offset + records,
            position=position,
            lost=records,
        )
        flow.offset += records
    else:
        error = RecreatedError("the topic", {"0": "new"}, was="old", now="new")
    flow.ingestor.skip(error, micros(second))


@pytest.mark.parametrize("kept", [True, False], ids=["archive", "no archive"])
@pytest.mark.parametrize("how", ["retention", "recreated"])
def test_views_are_incomplete_until_the_loss_has_left_their_windows(
    store, tmp_path, clock, how, kept
):
    long, short = view("long", windows=["1h"]), view("short", windows=["10m"])
    flow, reader = Flow([long, short], store, tmp_path if kept else None), None
    sent(flow, 1, 2)
    reader = Reader(store, long, short)
    assert reader.read(4) == [(2, False), (2, False)]
    lose(flow, 5, how=how)
    assert reader.read(6) == Reader(store, long, short).read(6) == [(None, True), (None, True)]
    sent(flow, 7)
    for second, expected in (
        (8, [(None, True), (None, True)]),
        (5 + 10 * MINUTE, [(None, True), (None, True)]),
        (5 + 11 * MINUTE, [(None, True), (1, False)]),
        (5 + HOUR + MINUTE - 1, [(None, True), (1, False)]),
        (5 + HOUR + MINUTE, [(1, False), (1, False)]),
    ):
        sent(flow, second - 1, known=second)
        found = reader.read(second)
        assert found == Reader(store, long, short).read(second)
        assert [incomplete for _, incomplete in found] == [
            incomplete for _, incomplete in expected
        ], second
        stands = [
            one.state
            for one in hw.status(
                project_of(long, short), store=store, data_dir=tmp_path, at=at(second)
            ).views
        ]
        assert stands == ["incomplete" if incomplete else "current" for _, incomplete in expected]
        if kept:
            notes = [
                bool(check_view(one, store, tmp_path, at=micros(second)).notes)
                for one in (long, short)
            ]
            assert notes == [incomplete for _, incomplete in expected]


def test_where_nothing_was_lost_nothing_is_incomplete(store, clock):
    flow = Flow([view()], store, None)
    sent(flow, 1)
    lose(flow, 5, records=0)
    assert Reader(store, view()).read(6) == [(1, False)]


def test_a_view_that_comes_later_lacks_the_same_records(store, tmp_path, clock):
    flow = Flow([view()], store, tmp_path)
    sent(flow, 1)
    lose(flow, 5)
    clock(10)
    again = Flow([view(), view("later", windows=["10m"])], store, tmp_path)
    again.offset = flow.offset
    sent(again, 11)
    reader = Reader(store, view(), view("later", windows=["10m"]))
    assert reader.read(13) == [(None, True), (None, True)]
    sent(again, 5 + 11 * MINUTE)
    assert reader.read(7 + 11 * MINUTE)[1] == (1, False)


def test_a_lifetime_lacks_them_for_good(store, clock):
    of = streaming_view(
        name="view", features=[hw.count()], windows=None, freshness=hw.streaming("10s")
    )
    flow = Flow([of], store, None)
    sent(flow, 1)
    lose(flow, 5)
    sent(flow, YEAR)
    assert Reader(store, of).read(YEAR + 2) == [(None, True)]


def test_a_stream_whose_events_may_be_of_the_future_may_have_lost_such(store, clock):
    flow = Flow([view(windows=["10m"])], store, None)
    sent(flow, 1)
    sent(flow, 20, known=2)
    lose(flow, 25)
    # events of up to a day later are accepted, and the window moves in steps of 10 s
    late = 25 + 86_400 + 10 * MINUTE + 10
    sent(flow, late - 2)
    assert Reader(store, view(windows=["10m"])).read(late - 1) == [(None, True)]
    assert Reader(store, view(windows=["10m"])).read(late) == [(1, False)]


@pytest.mark.parametrize(("says", "value"), [("value", 1), ("null", None)])
def test_it_is_served_as_the_view_says(store, clock, says, value):
    of = view(on_incomplete=says)
    flow = Flow([of], store, None)
    sent(flow, 1)
    lose(flow, 5)
    assert Reader(store, of).read(6) == [(value, True)]


def test_what_a_repaired_clock_has_cost_is_incomplete(store, tmp_path, clock):
    """Without an archive the tiles that a commit of the future dropped are gone, also for a process
    that has been serving all the time.
    """
    of = view()
    flow, reader = Flow([of], store, None), None
    sent(flow, 1)
    reader = Reader(store, of)
    assert reader.read(3) == [(1, False)]
    flow.send([{"key": 2, "at": 2, "amount": 1.0}], YEAR)
    clock(10)
    (found,) = rewind(project_of(of), store=store, data_dir=tmp_path).sources
    assert (found.filled_again, found.incomplete) == ([], ["view"])
    assert reader.read(11) == Reader(store, of).read(11) == [(None, True)]
    again = Flow([of], store, None)
    sent(again, 12)
    assert reader.read(13) == [(None, True)]
    sent(again, 10 + HOUR + MINUTE - 1)
    assert (
        reader.read(10 + HOUR + MINUTE)
        == Reader(store, of).read(10 + HOUR + MINUTE)
        == [(1, False)]
    )


def test_a_process_that_serves_sees_that_a_repaired_view_is_to_be_filled(store, tmp_path, clock):
    of = view()
    flow = Flow([of], store, tmp_path)
    sent(flow, 1)
    reader = Reader(store, of)
    flow.send([{"key": 2, "at": 2, "amount": 1.0}], YEAR)
    clock(10)
    assert reader.read(10)[0][0] in (0, None)
    (found,) = rewind(project_of(of), store=store, data_dir=tmp_path).sources
    assert (found.filled_again, found.incomplete) == (["view"], [])
    assert reader.read(11) == [(None, True)]
    again = Flow([of], store, tmp_path)
    sent(again, 12)
    assert reader.read(13) == [(2, False)]
