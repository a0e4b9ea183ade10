"""headwater on AWS: streams of Kinesis, and batch views and predictions in DynamoDB. It needs `pip
install 'headwater[aws]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.plugins import lazy_names

if TYPE_CHECKING:
    from headwater_aws.dynamodb import DynamoDB as DynamoDB
    from headwater_aws.kinesis_stream import kinesis as kinesis

_HOMES = {
    "headwater_aws.dynamodb": "DynamoDB",
    "headwater_aws.kinesis_stream": "kinesis",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
