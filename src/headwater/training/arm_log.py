"""The serving log of one arm of an experiment, so that each arm's model trains on what its own
answers caused.

If both arms train on one log, each learns from the items that the other has shown, and their
difference fades: in the world `recommender-loop` even its sign is lost, and with a log for each arm
(`recommender-loop-split`) an A/B test recovers it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headwater.definitions.definition import Readable
from headwater.errors import DataError, nearest
from headwater.journal.exposure_log import read_exposures, segments_of
from headwater.journal.exposure_rows import ARM, FLAG, OVERRIDE, WASHOUT
from headwater.journal.exposure_rows import REQUEST as EXPOSED
from headwater.journal.serving_log_rows import REQUEST

OTHER_ARM = "not served by this arm of the experiment"


@dataclass(frozen=True)
class ArmLog(Readable):
    """The served rows of an arm, as `from_log` of `train` and `dataset`.

    Args:
        experiment: its name.
        arm: its name. Requests that a tester sent to the arm are left out, and those that got the
            control for want of room.
        folder: of the serving log and the exposures; None is headwater's home.
        version: of the experiment; None is the latest one with exposures.
    """

    experiment: str
    arm: str
    folder: str | Path | None = None
    version: int | None = None

    def rows(self, served: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
        """The rows whose request was exposed to the arm; others are counted.

        Raises:
            DataError: the experiment has no exposures, or none of the arm.
        """
        exposures = read_exposures(self.folder, self.experiment, self.version)
        if not exposures.height:
            version = "" if self.version is None else f", version {self.version},"
            raise DataError(
                f"experiment {self.experiment!r}{version} has no exposures; start it, and serve it"
            )
        arms = exposures[ARM].unique().sort().to_list()
        if self.arm not in arms:
            raise DataError(
                f"experiment {self.experiment!r} has no exposures of arm {self.arm!r}; "
                f"{nearest(self.arm, arms)}"
            )
        exposed = exposures.filter(
            (pl.col(ARM) == self.arm)
            & ~pl.col(OVERRIDE).fill_null(value=False)
            & pl.col(FLAG).is_in(["", WASHOUT])
        )
        rows = served.filter(
            pl.col(REQUEST).is_in(exposed[EXPOSED].drop_nulls().unique().to_list())
        )
        left_out[OTHER_ARM] += served.height - rows.height
        return rows

    def resolved(self, folder: Path) -> ArmLog:
        """With the folder, and the version that is read, so that a manifest names it."""
        versions = [
            int(path.parent.name) for path in segments_of(folder, self.experiment, self.version)
        ]
        return ArmLog(self.experiment, self.arm, folder, max(versions, default=self.version))

    def to_data(self) -> dict[str, object]:
        """As a manifest has it."""
        return {"experiment": self.experiment, "arm": self.arm, "version": self.version}

    @staticmethod
    def from_data(data: Mapping[str, object], folder: Path) -> ArmLog:
        """What `to_data` wrote."""
        version = data["version"]
        return ArmLog(
            str(data["experiment"]),
            str(data["arm"]),
            folder,
            None if version is None else int(str(version)),
        )
