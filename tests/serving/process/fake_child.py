"""A child of the supervisor that does as a file says: `ready`, `never` ready, `mute`, `blocked`
once it is ready, or `dies`.
"""

import asyncio
import itertools
import os
import sys
import threading
from pathlib import Path

from headwater.serving.metrics.process_metrics import MetricValues, SampleValue
from headwater.serving.process.supervisor_link import ChildMessage, SupervisorLink

own, *_ = map(int, sys.argv[2].split(","))
link = SupervisorLink(own, grace=float(sys.argv[1]))
mode = Path(sys.argv[3]).read_text()


async def serve():
    link.answer_pings(asyncio.get_running_loop())
    link.tell(
        ChildMessage(reasons=[] if mode in ("ready", "blocked") else ["the model is not loaded"])
    )
    if mode == "blocked":
        threading.Event().wait()  # as a handler that never ends
    await asyncio.sleep(1000)


if mode == "dies":
    os._exit(3)
if mode == "mute":
    threading.Event().wait()
count = itertools.count(1)


def counted():
    return [
        MetricValues(
            "work", "what was done", "counter", [SampleValue("work_total", {}, float(next(count)))]
        )
    ]


link.report(counted, every=0.02)
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
threading.Event().wait()
