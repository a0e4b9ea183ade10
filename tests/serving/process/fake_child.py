"""A child of the supervisor that does as a file says: `ready`, `never` ready, `mute`, `blocked` once it is ready, or `dies`."""

import asyncio
import itertools
import os
import sys
import threading
import time
from pathlib import Path

from headwater.serving.metrics.process_metrics import Family, Value
from headwater.serving.process.supervisor_link import Leash, Told

own, *_ = map(int, sys.argv[2].split(","))
leash = Leash(own, grace=float(sys.argv[1]))
mode = Path(sys.argv[3]).read_text()


async def serve():
    leash.answer_pings(asyncio.get_running_loop())
    leash.tell(Told(reasons=[] if mode in ("ready", "blocked") else ["the model is not loaded"]))
    if mode == "blocked":
        time.sleep(1000)  # noqa: ASYNC251 (as a handler that never ends)
    await asyncio.sleep(1000)


if mode == "dies":
    os._exit(3)
if mode == "mute":
    time.sleep(1000)
count = itertools.count(1)


def counted():
    return [Family("work", "what was done", "counter", [Value("work_total", {}, float(next(count)))])]


leash.report(counted, every=0.02)
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
time.sleep(1000)
