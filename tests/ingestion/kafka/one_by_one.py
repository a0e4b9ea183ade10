"""`headwater ingest` that takes records of Kafka by an object for each, as where librdkafka's C API
cannot be called.
"""

import sys

from headwater import cli
from headwater.ingestion.sources import kafka_batches

kafka_batches.loaded = lambda: "not in this test"
sys.exit(cli.main())
