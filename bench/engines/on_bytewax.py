"""The job on Bytewax: `BYTEWAX/bin/python on_bytewax.py SERVERS TOPIC EVENTS FOLDER`. Tiles are a
stateful step's state, kept by recovery.

Its own windows (`fold_window`) are slower than this step, which sees all values of a key in a batch
together; late events find their tile.
"""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

WIDTHS = (10, 60, 600)
SPANS = (600, 3600, 86400)  # how long a tile is of use
servers, topic, events, folder = sys.argv[1:]
seen = []


class Tiles(StatefulBatchLogic):
    """Those of one card: (width, tile) -> count, sum, maximum."""

    def __init__(self, state):
        self.tiles = state or {}

    def on_batch(self, values):
        for at, amount in values:
            for width in WIDTHS:
                key = width, int(at // width)
                tile = self.tiles.get(key)
                if tile is None:
                    self.tiles[key] = [1, amount, amount]
                else:
                    tile[0] += 1
                    tile[1] += amount
                    tile[2] = max(tile[2], amount)
        seen.append(len(values))
        now = values[-1][0]
        if len(self.tiles) > 300:
            self.tiles = {
                k: v for k, v in self.tiles.items() if k[1] * k[0] > now - SPANS[WIDTHS.index(k[0])]
            }
        return [len(values)], False

    def snapshot(self):
        return dict(self.tiles)


class Nothing(DynamicSink):
    """Lets go of what comes."""

    def build(self, *_):
        class Part(StatelessSinkPartition):
            def write_batch(self, items):
                pass

        return Part()


def keyed(message):
    event = json.loads(message.value)
    return event["card"], (
        datetime.fromisoformat(event["authorised_at"]).timestamp(),
        event["amount"],
    )


flow = Dataflow("tiles")
read = op.input("read", flow, KafkaSource([servers], [topic], tail=False, batch_size=10_000))
op.output("out", op.stateful_batch("tiles", op.map("keyed", read, keyed), Tiles), Nothing())
kept = Path(folder) / "recovery"
kept.mkdir()
init_db_dir(kept, 1)
cluster_main(
    flow,
    [],
    0,
    worker_count_per_proc=1,
    epoch_interval=timedelta(seconds=1),
    recovery_config=RecoveryConfig(str(kept)),
)
assert sum(seen) == int(events), sum(seen)
