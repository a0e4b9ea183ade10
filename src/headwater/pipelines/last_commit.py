"""When the store was last written to for a project, by the clock of whoever wrote: a clock that is behind it cannot be right."""

from __future__ import annotations

from headwater.definitions.arm import Arm
from headwater.definitions.freshness import Batch
from headwater.definitions.project import Project
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import placed, placed_source
from headwater.online_stores.scores import read_scores
from headwater.online_stores.states import progresses, read_state
from headwater.pipelines.arms import served, stored
from headwater.pipelines.score import fingerprint


def last_commit(project: Project, store: OnlineStore) -> int:
    """The latest of a project's moments in its store, microseconds; 0 where nothing is stored.

    That of a stream is its last commit, that of a batch view the K of its last cut, which had passed when the cut was made, and that of
    predictions made ahead when they were published.
    """
    streams = [done.at for source in project.sources for done in progresses(store, placed_source(store, source).name).values()]
    views = [placed(store, one.view.root) for one in stored(project) if isinstance(one.view.freshness, Batch)]
    states = [read_state(store, view.tiles_fingerprint) for view in views]
    cuts = [state.cuts[-1].K for state in states if state is not None and state.cuts]
    scores = [last_published(arm, store) for arm in served(project) if arm.scoring is not None]
    return max([*streams, *cuts, *scores], default=0)


def last_published(arm: Arm, store: OnlineStore) -> int:
    """When the last cut of an arm's predictions was published, microseconds; 0 where there is none."""
    held = read_scores(store, fingerprint(arm, store.namespace))
    return held.cuts[-1].published_at if held is not None and held.cuts else 0
