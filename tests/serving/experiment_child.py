"""A service of the shop during an experiment, in a process of its own: STORE DATA_DIR PORT."""

import sys
import threading

import headwater as hw
from headwater.models.experiment_store import ExperimentStore
from tests.serving.experiment_world import EXPERIMENTED, T
from tests.serving.world import MODELS

if __name__ == "__main__":
    store, data_dir, port = sys.argv[1:]
    options = hw.ServeOptions(experiments=ExperimentStore(f"{data_dir}/models"), now=lambda: T)
    where = {"listen": f"127.0.0.1:{port}", "models": MODELS, "data_dir": data_dir, "options": options}
    with hw.serve(EXPERIMENTED, store, **where):
        print("ready", flush=True)
        threading.Event().wait()
