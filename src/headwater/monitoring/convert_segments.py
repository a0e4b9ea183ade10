"""`python -m headwater.monitoring.convert_segments PRIORITY FOLDER KEEP [URL SIZE]` maintains the
logs of a data directory once. PRIORITY is "idle", the lowest there is, or "normal", where a process
that ends waits for it.
"""

import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

from headwater import settings
from headwater.errors import HeadwaterError

_WAIT = 5.0  # seconds to wait for another process that ships


def run_idle() -> None:
    """Run only while no other process wants the processor: SCHED_IDLE, or where there is none
    niceness 19.
    """
    with suppress(OSError):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    priority, folder, keep, *to = sys.argv[1:]
    if priority == "idle":
        run_idle()
    settings.one_thread()
    gc.disable()  # it makes no cycles, and the collector would take half of its time
    from headwater.journal.conversion import ShipTo
    from headwater.monitoring.log_maintenance import maintain

    try:
        maintain(
            Path(folder),
            int(keep) if keep else None,
            ShipTo(to[0], int(to[1])) if to else None,
            _WAIT,
        )
    except (HeadwaterError, OSError) as error:
        sys.exit(
            f"the serving log in {folder} is not converted: {error}; its segments stay, and are "
            "tried again"
        )
