"""What an experiment costs a request: predictions of a project with one running and without, in
turns of one process.

python -m bench.experiment REQUESTS TURNS
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import headwater as hw
from headwater import clock
from headwater.journal.exposure_log import read_exposures
from headwater.models.experiment_store import ExperimentStore, FrozenArm, FrozenPlan
from headwater.serving.exposures import log_exposures
from headwater.serving.http.micro_batches import BatchedRequest, answer_batch
from headwater.serving.http.request_schema import PredictionRequest, parser
from headwater.serving.http.route_handlers import HANDLERS
from headwater.testing.examples import temporary_store, visiting

USERS, BATCH = 5_000, 1
DAY = 86_400_000_000


class Half:
    """A model that always gives one half."""

    version = "1"

    def one(self, values: object) -> float:  # noqa: ARG002 (as a scorer)
        """The score of a row."""
        return 0.5


def plan(kind: str) -> FrozenPlan:
    """An experiment of the model as defined and at a level."""
    arms = (
        FrozenArm("hourly", "churn", "as defined", 0.5),
        FrozenArm("daily", "churn", "daily", 0.5),
    )
    settings = (
        {"length": 7 * 3_600_000_000, "washout": 0, "random_bounds": False}
        if kind == "switchback"
        else {}
    )
    columns = {"switchback": {"region": "user"}, "cluster": {"cluster": "user"}}.get(kind, {})
    layer, span, start = "prices", (0.0, 1.0), clock.now_micros() - DAY
    power = {"looks": 5, "alpha": 0.05, "power": 0.8, "min_lift": 0.01}
    return FrozenPlan(
        kind,
        1,
        "",
        arms,
        "user",
        kind,
        columns,
        settings,
        ("label_mean",),
        (),
        layer,
        span,
        0.0,
        start,
        14 * DAY,
        DAY,
        (1.0,),
        **power,
    )


@contextmanager
def services() -> Iterator[dict[str, hw.operations.Service]]:
    """A service without an experiment, and one for each kind."""
    project = visiting(hw.batch("1h"))
    project = hw.Project("shop", project.models, levels={"daily": hw.Level(hw.batch("1d"))})
    with temporary_store() as store, tempfile.TemporaryDirectory() as folder:
        hw.materialize(project, store=store)
        every = {}
        for kind in ("none", "ab", "switchback", "cluster"):
            started = ExperimentStore(f"{folder}/{kind}/models")
            if kind != "none":
                own = plan(kind)
                started.start(own, own.start, "bench")
            name = project.models[0].name
            every[kind] = hw.operations.Service(
                project,
                store,
                models={name: Half()},
                data_dir=f"{folder}/{kind}",
                experiments=started,
            )
            every[kind].experiments.refresh()
            assert not every[kind].experiments.refused, every[kind].experiments.refused
        yield every
        for kind, service in every.items():
            service.close()
            logged = read_exposures(f"{folder}/{kind}", kind).height
            assert (logged > 0) == (kind != "none"), (kind, logged)


def turn(service: hw.operations.Service, model: str, bodies: list[PredictionRequest]) -> float:
    """Microseconds of processor time a request, of this process: the request path, and the thread
    that hands exposures over.
    """
    handlers, log, answered = HANDLERS["predict"], service.experiments.log, []
    begin = time.process_time()
    for at in range(0, len(bodies), BATCH):
        requests = [
            BatchedRequest(model, body, handlers.read, handlers.answer, handlers.reader)
            for body in bodies[at : at + BATCH]
        ]
        answer_batch(service, requests, clock.now_micros())
        for n, request in enumerate(requests):
            assert request.result is not None, request.error
            answered.append((f"abc-{at + n:x}", request.result.result))
        if len(answered) >= 64:  # as `PostResponseQueue`
            for number, result in answered:
                if result.arms:
                    log_exposures(log, number, result)
            answered.clear()
    return (time.process_time() - begin) * 1e6 / len(bodies)


def main(count: str, turns: str) -> None:
    """One turn of each service after the other; the first is not counted."""
    gc.disable()  # as `headwater serve` seldom collects
    decode = parser(PredictionRequest)
    bodies = [decode(b'{"row":{"user":%d}}' % (n * 7919 % USERS)) for n in range(int(count))]
    taken: dict[str, list[float]] = {}
    with services() as every:
        model = next(iter(every["none"].project.models)).name
        for _ in range(int(turns) + 1):
            for kind, service in every.items():
                taken.setdefault(kind, []).append(turn(service, model, bodies))
    print(json.dumps({kind: statistics.median(own[1:]) for kind, own in taken.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
