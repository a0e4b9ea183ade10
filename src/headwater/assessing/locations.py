"""Where an assessment measures: stores, logs, models, prices and databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater import settings
from headwater.definitions.checks import Duration, Spelled
from headwater.definitions.definition import Readable
from headwater.results.measurement import Number
from headwater.stores import OnlineStore


@dataclass(frozen=True)
class Locations(Readable, metaclass=Spelled):
    """Where to measure, and for how long.

    Args:
        store: an online store or its URL; None takes the settings.
        data_dir: the folder of logs and outcomes; None takes headwater's home.
        models: the folder of fitted models; None takes the one in headwater's home.
        prices: a price file (TOML); None takes the defaults.
        database: a URL of PostgreSQL.
        tables: which of its tables holds the rows of a source, by the source's name.
        records: how many of a topic's last records are read.
        watch: for how many seconds a topic is watched.
        freshness: the one to aim at, if the definitions do not give it.
        budget: the latency budget of a response, if the definitions do not give it.
        overrides: inputs of the cost formulas by symbol, instead of measured ones.

    >>> Locations(store="redis://127.0.0.1:6379/0", watch=2.0)
    Locations('redis://127.0.0.1:6379/0', watch=2)
    """

    store: OnlineStore | str | None = None
    data_dir: str | Path | None = None
    models: str | Path | None = None
    prices: str | Path | None = None
    database: str | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    records: int = 100_000
    watch: float = 10.0
    freshness: Duration | None = None
    budget: Duration | None = None
    overrides: Mapping[str, Number] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of logs and outcomes."""
        return settings.home() if self.data_dir is None else Path(self.data_dir)

    @property
    def registry(self) -> Path | None:
        """The folder of fitted models, if one was given."""
        return None if self.models is None else Path(self.models)
