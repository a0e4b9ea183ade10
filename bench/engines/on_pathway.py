"""The job on Pathway: `PATHWAY/bin/python on_pathway.py SERVERS TOPIC EVENTS FOLDER`. Group by card
and tile; its input is persisted to files, since persisting operators takes a licence.
"""

import sys

import pathway as pw

servers, topic, events, folder = sys.argv[1:]


class Payment(pw.Schema):
    card: str
    amount: float
    authorised_at: str


settings = {
    "bootstrap.servers": servers,
    "group.id": f"pathway-{folder}",
    "auto.offset.reset": "earliest",
}
read = pw.io.kafka.read(
    settings, topic, schema=Payment, format="json", mode="static", name="payments"
)
read = read.select(
    pw.this.card,
    pw.this.amount,
    at=pw.this.authorised_at.dt.strptime("%Y-%m-%dT%H:%M:%S%.fZ").dt.timestamp("s"),
)
seen = [0, 0]


def changed(key, row, time, is_addition):  # noqa: ARG001 (so it is called)
    seen[0] += row["n"] if is_addition else -row["n"]


for width in (10, 60, 600):
    tiles = read.with_columns(tile=pw.cast(int, pw.this.at) // width)
    aggregated = tiles.groupby(pw.this.card, pw.this.tile).reduce(
        pw.this.card,
        pw.this.tile,
        n=pw.reducers.count(),
        total=pw.reducers.sum(pw.this.amount),
        most=pw.reducers.max(pw.this.amount),
    )
    pw.io.subscribe(aggregated, changed)
kept = pw.persistence.Config(pw.persistence.Backend.filesystem(folder))
pw.run(monitoring_level=pw.MonitoringLevel.NONE, persistence_config=kept)
assert seen[0] == 3 * int(events), seen
