"""`hw.serve`: a project's service over HTTP."""

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
from headwater.serving.metrics.multiprocess import MultiprocessMetrics
from headwater.serving.process.ingest_process import address
from headwater.serving.process.supervisor_link import SupervisorLink
from headwater.serving.process.uvicorn_server import ServerOptions, serving
from headwater.serving.service import Service
from headwater.serving.third_party.fetcher import OnAnswer
from headwater.training.train import Trained

HTTP = "127.0.0.1:8320"

_DRAIN: Final = 1.0  # seconds in which a stopping worker closes its connections


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
    supervised: SupervisorLink | None = None,
) -> Iterator[str]:
    """Serve a project over HTTP while the context lasts, as `headwater serve` does; yields the URL.

    Args:
        project: its feature services and models are served.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        http: HOST:PORT to listen on.
        models, levels, folder, trust: as for `hw.Service`.
        tokens: the file of tokens; None is `tokens.json` in headwater's home, and without that file, only this machine is served.
        forward_to: hosts besides this machine that pushed events may be forwarded to; the online store has the address of ingestion.
        supervised: for a worker of `headwater serve --workers`, its link to the supervisor.
        log: the access log, one JSON line a request. sample: the share of responses below status 400 that are logged; all others are.
        served: the serving log of features, predictions, statuses and ages.
        on_answer: called with each response of a third party, such as `AnswerLog.add`; it must not block.
        now: the clock of request times, microseconds since 1970 UTC; for replays.

    Raises:
        UsageError: the address is in use, or not a loopback one while there are no tokens; an unknown level.
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
        service.unready()  # compiles and loads before the first request
        app = App(
            service, tokens=known, log=RequestLog(log, sample=sample), served=served, on_answer=on_answer, now=now, forward_to=forward_to
        )
        if supervised is None:
            with serving(app, host, port, closing=app.close) as url:
                yield url
            return
        app.others = supervised.others
        shared = MultiprocessMetrics(supervised, app.numbers.collect)
        app.metrics, app.beat = shared.text, shared.beat
        options = ServerOptions(
            supervised.listener, drain=min(_DRAIN, supervised.grace / 2), grace=supervised.grace / 2, begun=supervised.answer_pings
        )
        with serving(app, host, port, closing=app.close, options=options) as url:
            supervised.watch(app.readiness.reasons)
            yield url
