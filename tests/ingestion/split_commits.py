"""`headwater ingest` with a store that writes offsets in a transaction of their own: the mistake
that the trust tests must see.
"""

import sys
import time

from headwater import cli
from headwater.stores import keyspace, lmdb

commit = lmdb.LmdbStore.commit


def in_two(store, changes, expect):
    offsets = {key: value for key, value in changes.items() if key.startswith(keyspace.OFFSET)}
    commit(store, {key: value for key, value in changes.items() if key not in offsets}, expect)
    if offsets:
        time.sleep(0.01)
        commit(store, offsets, {})


lmdb.LmdbStore.commit = in_two
sys.exit(cli.main())
