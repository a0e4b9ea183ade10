"""Ingestion of a stream of changes is killed at random times: every event counts as its last image
says, or not at all.
"""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from tests.ingestion.world import USERS, Appender, World, names

PROJECT = """
import headwater as hw
import polars as pl

UTC = pl.Datetime("us", "UTC")
schema = {"id": str, "user": str, "n": int, "at": UTC, "known": UTC, "gone": bool}
rules = {"id_field": "id", "known_at_field": "known", "changes": "gone", "select": ["id", "user", "n", "at", "known", "gone"]}
source = hw.Source("visits", timestamp_field="at", stream=hw.appended("log-*.ndjson", schema=schema), **rules)
features = [hw.count(), hw.sum("n"), hw.max("n"), hw.last_n("n", k=3), hw.count_distinct("n")]
view = hw.FeatureView("user", source=source, keys=["user"], windows=["1h", "7d"], features=features, freshness=hw.streaming("2s"))
table = pl.DataFrame({"user": ["u0"], "asked": [0], "y": [1]}).with_columns(pl.col("asked").cast(UTC))
labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
project = hw.Project("shop", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view]), labels=labels)])
"""


class Changes(Appender):
    """Appends what happens to events of its own: they are stated, corrected, moved, deleted, stated
    again, told again and out of turn.
    """

    def __init__(self, world, path, number, rate):
        super().__init__(world, path, rate)
        self.number, self.chance, self.count = number, random.Random(number), 0
        self.since, self.version = datetime.now(UTC) - timedelta(hours=1), 0
        self.holds, self.said, self.late = {}, [], []
        self.kinds = Counter()

    def run(self):
        with self.path.open("ab") as file:
            while not self.over.is_set():
                lines = [line for _ in range(self.rate // 50) for line in self.lines()]
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                self.over.wait(0.02)
            file.write(b"".join(line + b"\n" for line in self.late))

    def lines(self):
        chance = self.chance.random()
        if chance < 0.1 and self.said:
            self.kinds["told again"] += 1
            return [self.chance.choice(self.said)]
        if chance < 0.15 and self.late:
            return [self.late.pop(0)]
        if chance < 0.5 or not self.holds:
            ident, was = f"{self.number}-{self.count}", None
            self.count += 1
        else:
            ident = self.chance.choice(list(self.holds)[-500:])
            was = self.holds[ident]
        made = self.images(ident, was)
        self.said = [*self.said[-500:], *made]
        if self.chance.random() < 0.05:
            self.kinds["out of turn"] += len(made)
            self.late += made
            return []
        return made

    def images(self, ident, was):
        self.version += 1
        known = (self.since + timedelta(microseconds=self.version)).isoformat()
        kind = (
            "stated"
            if was is None
            else self.chance.choice(["deleted", "value", "value", "user", "time", "all"])
        )
        self.kinds[kind] += 1
        fresh = {
            "user": f"u{self.chance.randrange(USERS)}",
            "n": self.chance.randrange(1000),
            "at": (self.since + timedelta(seconds=self.chance.randrange(3000))).isoformat(),
        }
        changed = {"value": ["n"], "user": ["user"], "time": ["at"]}.get(kind, ["user", "n", "at"])
        now = (
            None
            if kind == "deleted"
            else {**(was or fresh), **{name: fresh[name] for name in changed}}
        )
        self.holds[ident] = now
        before = (
            []
            if was is None or (now is not None and self.chance.random() < 0.3)
            else [{**was, "gone": True}]
        )
        after = [] if now is None else [{**now, "gone": False}]
        return [
            json.dumps({**image, "id": ident, "known": known}).encode()
            for image in [*before, *after]
        ]


class Corrected(World):
    """A world whose events change."""

    def __init__(self, folder, url, **options):
        super().__init__(folder, url, "None", **options)
        (folder / "features.py").write_text(PROJECT, encoding="utf-8")
        self.writers = []

    def change(self, number, rate):
        self.writers.append(Changes(self, self.folder / f"log-{number}.ndjson", number, rate))
        self.writers[-1].start()

    def expected(self):
        held = [
            event for writer in self.writers for event in writer.holds.values() if event is not None
        ]
        by_user = {
            user: [event["n"] for event in held if event["user"] == user] for user in names()
        }
        return {user: (len(ns), sum(ns), max(ns, default=None)) for user, ns in by_user.items()}

    def found(self, name="view"):
        view = self.view(name)
        asked = pl.DataFrame({"user": names()})
        served = hw.get_online_features(view, asked, store=self.url, details=True)
        columns = [served[f"user__{feature}_7d"] for feature in ("count", "sum_n", "max_n")]
        found = zip(columns[0], columns[1].fill_null(0), columns[2], strict=True)
        return dict(zip(names(), found, strict=True))


@pytest.mark.long
@pytest.mark.slow
def test_changes_count_once(url, tmp_path, kills, report):
    here = Corrected(tmp_path, url)
    for number in range(2):
        here.change(number, 100 if kills > 20 else 400)
    here.killed(kills // 2)
    for writer in here.writers:
        writer.end()
    here.once()
    assert here.found() == here.expected()
    (compared,) = hw.parity(here.view("project"), store=here.url, data_dir=tmp_path / ".headwater")
    assert not compared.mismatches
    kinds = sum((writer.kinds for writer in here.writers), Counter())
    report(f"{kills // 2} kills, {dict(kinds)}: exact, for counts, sums and maxima")
