"""Death between two steps of a store that is log first."""

import polars as pl

from headwater.online.view_reader import OnlineView
from headwater.stores.redis import lua as scripts
from tests.flow import micros
from tests.stores import split_store

KEYS = 30


class Dead(BaseException):
    """What a process that was killed meets: nothing of it runs on, and nothing reaches a server."""


class Steps:
    """Counts what a store writes: each commit of the state, and each shard of the table (of a
    cluster, a third of the groups). of_table: which of the steps are the table's.
    """

    def __init__(self, store, die_at=None):
        self.count, self.table, self.die_at, self.of_table = 0, 0, die_at, []
        if isinstance(store.state, split_store.RemoteState):
            store.state.before, store.table.before = self.step, self.table_step
            return
        run = store.state._servers.run

        def stepping(calls, **how):
            if not calls or calls[0].command not in (
                scripts.COMMIT,
                scripts.GROUP,
                scripts.FENCE,
                scripts.EMPTY,
            ):
                return run(calls, **how)
            if calls[0].command is scripts.COMMIT:
                self.step()
                return run(calls, **how)
            answers, third = [], -(-len(calls) // 3)
            for start in range(0, len(calls), third):
                self.table_step()
                answers += run(calls[start : start + third], **how)
            return answers

        store.state._servers.run = stepping

    def step(self):
        if self.die_at is not None and self.count >= self.die_at:
            raise Dead
        self.count += 1

    def table_step(self):
        self.of_table.append(self.count)
        self.step()
        self.table += 1


def roll_back(state, pairs):
    """The state as it was, as if it had never told anybody of what came then."""
    now = dict(state.snapshot())
    state.commit(dict.fromkeys(now) | dict(pairs), {})


def read(view, store, second):
    served = OnlineView(view, store).read(pl.DataFrame({"key": range(KEYS)}), micros(second))
    return [series.to_list() for series in served.features]
