"""headwater on AWS: Kinesis Data Streams. It needs `pip install 'headwater[kinesis]'`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.definitions.kinesis_stream import kinesis as kinesis

_HOMES = {
    "headwater.definitions.kinesis_stream": "kinesis",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
