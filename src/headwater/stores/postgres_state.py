"""The state of ingestion in PostgreSQL, of a store whose records are elsewhere."""

from __future__ import annotations

from headwater.stores import NO_MARKS, Capabilities, Changes, Marks
from headwater.stores.postgres import PostgresStore, target_of


class PostgresState(PostgresStore):
    """See `IngestState`; the tables are those of a `PostgresStore`."""

    capabilities = Capabilities(atomic=False, multi_process=True, remote=True)

    def commit(self, changes: Changes, expect: Changes, marks: Marks = NO_MARKS) -> None:
        """See `IngestState`; of tables that lose no write, so that marks are of no use."""
        del marks
        super().commit(changes, expect)

    def marks(self) -> Marks:
        """See `IngestState`; there are none."""
        return NO_MARKS


def open_state(url: str, *, readonly: bool, for_requests: bool) -> PostgresState:
    """The state that `postgresql://...` names, as a store of PostgreSQL is named."""
    at, target = target_of(url)
    state = PostgresState(target, at, readonly=readonly)
    if for_requests:
        state.timeout = at.read_timeout
    return state
