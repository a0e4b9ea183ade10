"""Features that no compiled loop computes: a plugin's function without a `read` in
`aggregations.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from headwater.kernel.arrays import I64
from headwater.online.read_layout import Records, ViewPart
from headwater.online.read_versions import FALLBACK, ReadVersion, falls_back
from headwater.state.record import sections

Evaluated = tuple[int, list[object], bytes]
"""A feature that no loop computes: its place among the reader's names, values and statuses."""


@dataclass(frozen=True)
class GeneralFeatures:
    """The features of some views that the general evaluation of records computes
    (`ViewTiles.values`).

    Attributes:
        parts: the views of a reader.
        features: of some views their index, and of each of their features the place among the
            reader's names and the index among the view's
        outputs.
        groups: of each view, which keys it is looked up by. places: where its records are.
    """

    parts: Sequence[ViewPart]
    features: Sequence[tuple[int, Sequence[tuple[int, int]]]]
    groups: Sequence[int]
    places: Sequence[int]

    def evaluated(
        self,
        by_place: Sequence[Records],
        read_versions: Sequence[ReadVersion],
        count: int,
        equal: I64,
    ) -> list[Evaluated]:
        """Their values and statuses; by_place: the records. equal: as of `read_kernels.answer`."""
        general = []
        for view, others in self.features:
            part, read_version = self.parts[view], read_versions[view]
            if falls_back(part.view, read_version) or not count:
                general += [
                    (position, cast("list[object]", [None] * count), bytes([FALLBACK]) * count)
                    for position, _ in others
                ]
                continue
            rows = equal[self.groups[view]].tolist() if len(equal) else list(range(count))
            keys = max(rows) + 1
            chosen = part.version_reader.chosen(by_place[self.places[view]], read_version)
            records = sections(
                [record or b"" for record in chosen], part.tiles.view.tiles_fingerprint
            )
            per_key = len(records) // keys
            split = (
                [records[at : at + per_key] for at in range(0, len(records), per_key)]
                if per_key
                else [[]] * keys
            )
            known = part.view.freshness.known_by(read_version.T, read_version.K)
            values, statuses = part.tiles.values(
                split, np.full(keys, read_version.T), np.full(keys, known)
            )
            for position, n in others:
                codes = statuses[n].to_physical().cast(pl.UInt8).to_numpy()[rows].tobytes()
                general.append((position, values[n].gather(rows).to_list(), codes))
        return general
