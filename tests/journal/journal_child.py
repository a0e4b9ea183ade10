"""A service during an experiment, in a process of its own: STORE DATA_DIR PORT. It prints "ready"
once it answers.
"""

import sys

import headwater as hw
from headwater.models.experiment_store import ExperimentStore
from tests.serving.experiment_world import EXPERIMENTED, T
from tests.serving.world import MODELS

if __name__ == "__main__":
    store, data_dir, port = sys.argv[1:]
    with hw.operations.ServedLog(data_dir) as log:
        options = hw.operations.ServeOptions(
            experiments=ExperimentStore(f"{data_dir}/models"), now=lambda: T, serving_log=log
        )
        with hw.operations.serve(
            EXPERIMENTED,
            store,
            listen=f"127.0.0.1:{port}",
            models=MODELS,
            data_dir=data_dir,
            options=options,
        ):
            print("ready", flush=True)
            sys.stdin.read()
