"""Started experiments: the frozen plan, allowed operations, and the state after a kill."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from headwater.errors import DataError, UsageError
from headwater.models.experiment_store import CHANGES, PLAN, ExperimentStore, FrozenArm
from headwater.models.registry import ModelRegistry
from tests.experiments.frozen_plans import frozen_plan

PLAN_1 = frozen_plan(
    experiment="fresher",
    fingerprint="0" * 64,
    arms=(FrozenArm("daily", "churn", "daily", 0.5), FrozenArm("streaming", "churn", "live", 0.5)),
    metrics=("orders",),
    start=100,
    enrolled=(0.1, 1.0),
)


def test_a_plan_is_frozen_and_its_enrolment_only_widens(tmp_path):
    store = ExperimentStore(tmp_path)
    started = store.start(PLAN_1, 100, "ann")
    assert store.start(PLAN_1, 200, "bob") == started  # the same again starts nothing
    before = store.stamp
    assert [started.enrolled_at(t) for t in (99, 100, PLAN_1.end)] == [0.0, 0.1, 0.0]
    widened = store.enrol("fresher", 1.0, 500, "ann", "guardrails hold")
    assert [widened.enrolled_at(t) for t in (499, 500)] == [0.1, 1.0]
    assert store.stamp != before
    with pytest.raises(UsageError, match="only widens"):
        store.enrol("fresher", 0.5, 600, "ann")
    with pytest.raises(
        UsageError, match="a plan never changes: stop it, and give the experiment version=2"
    ):
        store.start(msgspec.structs.replace(PLAN_1, min_lift=0.02), 700, "ann")
    with pytest.raises(UsageError, match="version 1 of experiment 'fresher' is running"):
        store.start(msgspec.structs.replace(PLAN_1, version=2), 700, "ann")
    stopped = store.stop("fresher", 900, "ann", "done")
    assert (stopped.enrolled_at(899), stopped.enrolled_at(900), stopped.stopped_at) == (
        1.0,
        0.0,
        900,
    )
    assert store.start(msgspec.structs.replace(PLAN_1, version=2), 1000, "ann").plan.version == 2
    assert [e.plan.version for e in store.started()] == [1, 2]


def test_names_that_are_not_running(tmp_path):
    store = ExperimentStore(tmp_path)
    with pytest.raises(UsageError, match="'fresher' is not running"):
        store.stop("fresher", 1, "ann", "")
    store.start(PLAN_1, 100, "ann")
    with pytest.raises(UsageError, match="did you mean 'fresher'"):
        store.one("freshr")


def test_a_line_that_a_kill_cut_off_is_not_read_and_not_kept(tmp_path):
    store = ExperimentStore(tmp_path)
    store.start(PLAN_1, 100, "ann")
    changes = store.folder / "fresher" / "1" / CHANGES
    with changes.open("ab") as file:
        file.write(b'{"change":"stop')
    assert store.running("fresher").stopped_at is None
    store.enrol("fresher", 0.5, 300, "ann")
    assert store.running("fresher").enrolled_at(300) == 0.5
    changes.write_bytes(b"{}\n")
    with pytest.raises(DataError, match="not an experiment of this version"):
        store.started()


def test_a_writer_that_was_killed_before_the_start_leaves_nothing_that_runs(tmp_path):
    store = ExperimentStore(tmp_path)
    (store.folder / "fresher" / "1").mkdir(parents=True)
    (store.folder / "fresher" / "1" / PLAN).write_bytes(msgspec.json.encode(PLAN_1))
    assert store.started() == []
    assert store.start(PLAN_1, 100, "ann").plan == PLAN_1


def test_experiments_are_no_models_of_the_registry(tmp_path):
    ExperimentStore(tmp_path).start(PLAN_1, 100, "ann")
    assert ModelRegistry(tmp_path).variants() == []


def test_of_many_starts_at_once_one_is_written(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        starts = [
            pool.submit(
                ExperimentStore(tmp_path).start,
                msgspec.structs.replace(PLAN_1, start=n),
                n,
                f"author {n}",
            )
            for n in range(24)
        ]
    one, *others = [start.result() for start in starts]
    assert all(other == one for other in others)
    assert len(one.changes) == 1
    assert one.plan.start == one.changes[0].at
