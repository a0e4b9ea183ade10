"""The shop during an experiment, in a process of its own: (serve | ingest) STORE DATA_DIR PORT. It
prints "ready" once it answers.
"""

import functools
import sys

import headwater as hw
from headwater.cli.signals import stopped
from headwater.models.experiment_store import ExperimentStore
from tests.serving.experiment_world import PUSHED, T
from tests.serving.world import MODELS


@functools.cache
def ready():
    """Print it, once."""
    print("ready", flush=True)


if __name__ == "__main__":
    role, store, data_dir, port = sys.argv[1:]
    listen = f"127.0.0.1:{port}"
    with stopped() as stop:
        if role == "serve":
            options = hw.operations.ServeOptions(
                experiments=ExperimentStore(f"{data_dir}/models"), now=lambda: T
            )
            with hw.operations.serve(
                PUSHED, store, listen=listen, models=MODELS, data_dir=data_dir, options=options
            ):
                ready()
                stop.wait()
        else:
            options = hw.operations.IngestOptions(
                allow_unapplied=True, on_commit=lambda *_: ready()
            )
            hw.ingest(PUSHED, store, data_dir=data_dir, listen=listen, stop=stop, options=options)
