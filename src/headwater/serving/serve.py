"""A project's service at an address of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from headwater import clock, settings
from headwater.definitions.project import Project
from headwater.logs.serving_log import ServedLog
from headwater.online.predictor import Scorer
from headwater.online_stores import OnlineStore
from headwater.serving.http.access_log import RequestLog
from headwater.serving.http.app import App
from headwater.serving.http.auth import check_bind
from headwater.serving.metrics.multiprocess import SharedNumbers
from headwater.serving.process.ingest_process import address
from headwater.serving.process.supervisor_link import Leash
from headwater.serving.process.uvicorn_server import Door, serving
from headwater.serving.service import Service
from headwater.serving.third_party.fetcher import OnAnswer
from headwater.training.train import Trained

HTTP = "127.0.0.1:8320"

_DRAIN: Final = 1.0  # seconds in which connections of a worker that ends are told to go to the others


@contextmanager
def serve(  # noqa: PLR0913 (each is a keyword that an operator may need)
    project: Project,
    store: OnlineStore | str | None = None,
    *,
    http: str = HTTP,
    models: str | Path | Mapping[str, Scorer | Trained] | None = None,
    levels: Sequence[str] = (),
    tokens: str | Path | None = None,
    forward_to: Sequence[str] = (),
    log: TextIO | None = None,
    sample: float = 1.0,
    served: ServedLog | None = None,
    on_answer: OnAnswer | None = None,
    now: Callable[[], int] = clock.now_micros,
    folder: str | Path | None = None,
    trust: bool = False,
    supervised: Leash | None = None,
) -> Iterator[str]:
    """Serve a project over HTTP while the context lasts, as `headwater serve` does; the address at which it is reached.

    Args:
        project: its feature services and models are served.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        http: HOST:PORT to listen at.
        models, levels, folder, trust: as for `hw.Service`.
        tokens: the file of tokens; None takes `tokens.json` in headwater's home, and where there is none, answers this machine alone.
        forward_to: hosts besides this machine that pushed events may be forwarded to, where the store names one of them as the host that
            ingests.
        supervised: for a worker of `headwater serve --workers`, what ties it to the others.
        log: gets a line of JSON a request. sample: the share of good answers that get one; every other answer does.
        served: the served log, which gets what was answered: features, predictions, statuses, ages.
        on_answer: told of each answer of a third party, such as `AnswerLog.add`; it must not wait.
        now: the moment of asking, microseconds since 1970 UTC; for replays, whose clock is another one.

    Raises:
        UsageError: the address is taken, or reached by others while there are no tokens; a level that the project does not have.
        StoreError: the store cannot be opened.

    >>> import headwater as hw, httpx
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     with hw.serve(project, store, http="127.0.0.1:8329", models={}) as url:
    ...         answer = httpx.post(f"{url}/v1/features/churn_v1", json={"row": {"user": 1}}).json()
    >>> answer["features"]["user__count_1d"]["status"]
    'present'
    """
    host, port = address(http)
    home = settings.home() / "tokens.json"
    known = Path(tokens) if tokens is not None else home if home.exists() else None
    check_bind(host, known)
    with Service(project, store, models=models, levels=levels, folder=folder, trust=trust) as service:
        service.unready()  # and so, what can be is compiled and loaded before anybody asks
        app = App(
            service, tokens=known, log=RequestLog(log, sample=sample), served=served, on_answer=on_answer, now=now, forward_to=forward_to
        )
        if supervised is None:
            with serving(app, host, port, closing=app.close) as url:
                yield url
            return
        app.others = supervised.others
        shared = SharedNumbers(supervised, app.numbers.collect)
        app.metrics, app.beat = shared.text, shared.beat
        door = Door(supervised.door, drain=min(_DRAIN, supervised.grace / 2), grace=supervised.grace / 2, begun=supervised.answer_pings)
        with serving(app, host, port, closing=app.close, door=door) as url:
            supervised.watch(app.readiness.reasons)
            yield url
