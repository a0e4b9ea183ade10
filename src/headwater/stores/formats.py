"""The format of a store: a number that is written into a new one. A store of another format is
refused.
"""

from __future__ import annotations

from headwater.errors import StoreError
from headwater.stores import OnlineStore
from headwater.stores.keyspace import EPOCH, FORMAT, FORMAT_KEY


def check_format(store: OnlineStore, where: str, *, readonly: bool) -> None:
    """Note the format of a store that is new.

    Raises:
        StoreError: another version wrote it, or it is the state of ingestion of another store; it
            is left as it is.
    """
    stored_format, epoch = store.get([FORMAT_KEY, EPOCH])
    if epoch is not None and store.capabilities.atomic:
        raise StoreError(
            f"{where} holds the state of ingestion of a store whose records are elsewhere; give "
            "the URL of that store, such as dynamodb://TABLE?state=postgresql://..., or another "
            "prefix="
        )
    if stored_format is None and not readonly:
        store.commit({FORMAT_KEY: FORMAT}, {})
    elif stored_format not in (None, FORMAT):
        raise StoreError(
            f"the online store in {where} has format {stored_format!r}, and this version of "
            f"headwater reads {FORMAT!r}; use the version that wrote it, or rebuild it from the "
            "archive (see `headwater materialize` and the page on operations)"
        )


def check_still(store: OnlineStore) -> None:
    """Check the format of a store that has been open for a while.

    Raises:
        StoreError: another version has written it again meanwhile.
    """
    (stored_format,) = store.get([FORMAT_KEY])
    if stored_format not in (None, FORMAT):
        raise StoreError(
            f"the online store has format {stored_format!r} now, and this process reads "
            f"{FORMAT!r}: another version of headwater wrote it. Start this process with that "
            "version"
        )
