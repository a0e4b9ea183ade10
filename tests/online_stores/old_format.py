"""Stores as format 2 had them: a record for each key and view under the view's fingerprint, without a directory; progress as a map."""

import msgspec

from headwater.online_stores import keyspace
from headwater.online_stores.ownership import placed, scoped
from headwater.state.key_record import fingerprints, section
from headwater.state.view_state import read_parts, read_progress


def put_back(store, project, views):
    """Give a store of this version format 2."""
    mine = scoped(store, project)
    changes = {keyspace.FORMAT_KEY: b"2"}
    for view in (placed(mine, view) for view in views):
        tiles, begin = view.tiles_fingerprint, keyspace.records(view.record_group)
        for key, record in store.scan(begin):
            part = section(record, tiles)
            changes.setdefault(key, None)
            if part:
                changes[keyspace.records(tiles) + key[len(begin) :]] = part[:8] + record[8:16] + part[16:]
            assert set(fingerprints(record)) <= {placed(mine, other).tiles_fingerprint for other in views}
        if not view.freshness.scheduled:
            assert read_parts(store, tiles)
            for key, value in store.scan(keyspace.stream_state(tiles)):
                changes |= {key: None, keyspace.STATE + key[1:]: value}
    for key, value in store.scan(keyspace.PROGRESS):
        progress = read_progress(value)
        changes[key] = msgspec.msgpack.encode({name: getattr(progress, name) for name in progress.__struct_fields__})
    store.commit({key: value for key, value in changes.items() if value is None}, {})
    store.commit({key: value for key, value in changes.items() if value is not None}, {})
