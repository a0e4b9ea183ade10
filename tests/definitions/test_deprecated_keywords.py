"""Keywords that moved into an option object."""

import pytest

import headwater as hw
from headwater.definitions.deprecated_keywords import moved_into, renamed
from headwater.errors import UsageError
from headwater.ingestion.ingest import IngestLimits


@moved_into("resources", hw.Resources, "threads", tick="progress")
def work(model, *, level=None, resources=None):
    """A verb."""
    return model, level, resources


def test_an_old_keyword_works_and_names_its_place():
    with pytest.warns(DeprecationWarning, match=r"work\(threads=\) is deprecated .* write resources=Resources\(threads=\.\.\.\)") as caught:
        assert work("m", threads=2) == ("m", None, hw.Resources(threads=2))
    assert caught[0].filename == __file__  # the line that should change
    with pytest.warns(DeprecationWarning, match="progress="):
        assert work("m", tick=False)[2] == hw.Resources(progress=False)


def test_old_keywords_are_added_to_a_given_object():
    with pytest.warns(DeprecationWarning, match="threads"):
        assert work("m", level=1, threads=3, resources=hw.Resources(memory="4GB")) == ("m", 1, hw.Resources(threads=3, memory="4GB"))


def test_new_keywords_do_not_warn_and_unknown_ones_are_refused():
    assert work("m", resources=hw.Resources(threads=1))[2].threads == 1
    with pytest.raises(TypeError, match="workers"):
        work("m", workers=2)


def test_several_objects_take_old_keywords_of_one_call():
    @renamed("model", "variant")
    @moved_into("evaluation", hw.Evaluation, seeds="refits")
    @moved_into("resources", hw.Resources, "threads")
    def judge(model=None, evaluation=None, *, resources=None):
        return model, evaluation, resources

    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        assert judge(variant="m", seeds=2, threads=1) == ("m", hw.Evaluation(refits=2), hw.Resources(threads=1))
    assert len(caught) == 3


def test_a_renamed_keyword():
    @renamed("view_costs", "costs")
    def spend(*, view_costs=None):
        return view_costs

    with pytest.warns(DeprecationWarning, match=r"spend\(costs=\) .* write view_costs=\.\.\."):
        assert spend(costs=3) == 3


def test_a_misspelt_field_names_the_nearest():
    with pytest.raises(hw.errors.DefinitionError, match="did you mean 'metrics'"):
        hw.Evaluation(metric=["auc"])
    with pytest.raises(hw.errors.DefinitionError, match="did you mean 'threads'"):
        hw.Resources(thread=2)


@pytest.mark.parametrize(
    ("options", "old", "new"),
    [
        (hw.ServeOptions, {"sample": 0.5}, {"log_sample": 0.5}),
        (hw.ServeOptions, {"trust": True}, {"allow_pickle": True}),
        (IngestLimits, {"future": "2h"}, {"max_future_skew": "2h"}),
    ],
)
def test_a_renamed_option_works_and_says_its_new_name(options, old, new):
    (before,), (after,) = old, new
    expected = rf"^{options.__name__}\({before}=\) is {options.__name__}\({after}=\) now; the next release removes the old name$"
    with pytest.warns(DeprecationWarning, match=expected) as caught:
        assert options(**old) == options(**new)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (hw.serve, "http", "listen"),
        (hw.serve, "folder", "data_dir"),
        (hw.serve, "served", "serving_log"),
        (hw.ingest, "http", "listen"),
        (hw.ingest, "folder", "data_dir"),
        (hw.train, "until", "as_of"),
        (hw.dataset, "until", "as_of"),
        (hw.status, "folder", "data_dir"),
        (hw.parity, "folder", "data_dir"),
        (hw.explain, "folder", "data_dir"),
        (hw.replay, "folder", "data_dir"),
        (hw.operations.served_parity, "folder", "data_dir"),
        (hw.operations.dead_letters, "folder", "data_dir"),
        (hw.operations.erase, "folder", "data_dir"),
        (hw.operations.materialize_model, "arm", "variant"),
        (hw.operations.load_model, "trust", "allow_pickle"),
        (hw.operations.Service, "trust", "allow_pickle"),
    ],
)
def test_each_renamed_keyword_says_its_new_name(function, old, new):
    """No other argument is given, or one that is no model, so that nothing is done."""
    with (
        pytest.warns(DeprecationWarning, match=rf"{function.__name__}\({old}=\) is deprecated .*{new}="),
        pytest.raises((TypeError, AttributeError, UsageError)),
    ):
        function(**{old: None})
