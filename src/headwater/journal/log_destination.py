"""Where the logs of many machines come together: a folder of an object store, or a shared folder.

It holds parts. A part is a parquet file with a name, and never changes; the same part may be put twice, and counts once:

    served/headwater_date=2024-05-01/model=churn/1714521600000000-WORKER-000001.parquet    rows of the serving log
    served/sample_rates/WORKER.parquet                                                     the share of requests that a worker kept
    exposures/checkout/1/WORKER-000001.parquet                                             the bytes of a closed file of exposures
    outcomes/leaving/WORKER-000001.parquet                                                 and of one of outcomes
"""

from __future__ import annotations

import re
from typing import Final

from headwater.definitions.connectors import ParquetFiles
from headwater.definitions.urls import SCHEMES
from headwater.errors import DefinitionError, UsageError, nearest
from headwater.journal.object_store_logs import ObjectStoreLogs

_NAME: Final = re.compile(r"(served|exposures|outcomes)(/[^/\\\0]+)+\.parquet")
_STORES: Final = tuple(scheme for scheme in SCHEMES if not scheme.startswith("http"))


def destination(url: str) -> ObjectStoreLogs:
    """The destination that a URL names.

    s3://bucket/folder, gs://, az:// and abfss:// take their credentials from the environment; file:///folder is a shared folder.

    Raises:
        UsageError: another URL.

    >>> destination("file:///data/logs")
    ObjectStoreLogs('/data/logs')
    """
    scheme, found, _ = url.partition("://")
    if not found or scheme.lower() not in (*_STORES, "file"):
        raise UsageError(
            f"logs cannot go to {url!r}: {nearest(scheme, (*_STORES, 'file'))}. Give s3://bucket/folder, gs://, az:// or file:///folder"
        )
    try:
        return ObjectStoreLogs(ParquetFiles(url.rstrip("/")).path)
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def is_part(name: str) -> bool:
    """Whether a name is one of a part: what lies at a destination was written by others.

    >>> is_part("served/sample_rates/a.parquet"), is_part("served/../../etc/a.parquet"), is_part("index.html")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and ".." not in name.split("/")
